//! What a peer answers to whom.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

struct Planned<T> {
    always: Option<T>,
    next: Vec<T>,
}

/// Answers by destination: some for the next times, then one for always; else those for everyone.
pub struct Answers<T>(Mutex<HashMap<String, Planned<T>>>);

/// The destination that stands for all that have no answers of their own.
pub const EVERYONE: &str = "*";

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy> Answers<T> {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Planned<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, after those of [`Answers::times`].
    pub fn always(&self, to: &str, answer: T) {
        let mut all = self.all();
        all.entry(to.to_owned()).or_insert(Planned { always: None, next: Vec::new() }).always = Some(answer);
    }

    /// The next times.
    pub fn times(&self, times: usize, to: &str, answer: T) {
        let mut all = self.all();
        let planned = all.entry(to.to_owned()).or_insert(Planned { always: None, next: Vec::new() });
        planned.next.splice(0..0, std::iter::repeat_n(answer, times));
    }

    /// From now on nothing is planned.
    pub fn clear(&self) {
        self.all().clear();
    }

    /// The answer that is due, used up if it was for some times; none was planned.
    pub fn next(&self, to: &str) -> Option<T> {
        let mut all = self.all();
        let mut due = |to: &str| {
            let planned = all.get_mut(to)?;
            planned.next.pop().or(planned.always)
        };
        due(to).or_else(|| due(EVERYONE))
    }
}

//! What a peer got, and waiting for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// A list that grows on one thread and is waited for on another.
pub struct Log<T> {
    items: Mutex<Vec<T>>,
    length: watch::Sender<usize>,
}

impl<T: Clone> Log<T> {
    pub fn new() -> Self {
        Self { items: Mutex::default(), length: watch::Sender::new(0) }
    }

    fn items(&self) -> MutexGuard<'_, Vec<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, item: T) {
        let length = {
            let mut items = self.items();
            items.push(item);
            items.len()
        };
        self.length.send_replace(length);
    }

    pub fn all(&self) -> Vec<T> {
        self.items().clone()
    }

    pub fn len(&self) -> usize {
        self.items().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn last(&self) -> Option<T> {
        self.items().last().cloned()
    }

    /// Waits until there are as many; panics after ten seconds.
    pub async fn reach(&self, length: usize) -> Vec<T> {
        let mut watched = self.length.subscribe();
        let reached = watched.wait_for(|now| *now >= length);
        match tokio::time::timeout(Duration::from_secs(10), reached).await {
            Ok(_) => self.all(),
            Err(_) => panic!("{} of {length} came within ten seconds", self.len()),
        }
    }
}

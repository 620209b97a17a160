//! Publishers that insist.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::bank::USERS;
use crate::harness::{Api, Event, JSON};

/// Publishers at the same time, each on aggregates of its own.
const PUBLISHERS: usize = 4;
/// Aggregates of each.
const AGGREGATES: usize = 3;
/// How long one of them thinks between two requests.
const PAUSE: Duration = Duration::from_millis(40);
/// How long one of them waits for an answer, before it asks another instance.
const PATIENCE: Duration = Duration::from_secs(4);

/// What the publishers have seen.
#[derive(Default, Clone)]
pub(super) struct Tally {
    /// The ids of the events that were answered with 2xx.
    pub(super) acknowledged: BTreeSet<String>,
    /// Requests that were asked to come again: 503 with `Retry-After`.
    pub(super) turned_away: usize,
    /// Requests that had no answer.
    pub(super) unanswered: usize,
    /// How long it took to get the slowest request acknowledged.
    pub(super) slowest: Duration,
}

/// Publishers at work.
pub(super) struct Publishing {
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Publishing {
    /// Starts them; `round` sets their events apart from those of others.
    pub(super) fn start(round: usize, serving: &watch::Sender<Vec<Api>>, tally: &Arc<Mutex<Tally>>) -> Self {
        let stop = watch::Sender::new(false);
        let tasks = (0..PUBLISHERS).map(|number| {
            let publisher = Publisher {
                name: format!("r{round}p{number}"),
                turn: number,
                made: 0,
                serving: serving.subscribe(),
                stop: stop.subscribe(),
                tally: Arc::clone(tally),
            };
            tokio::spawn(publisher.publish())
        });
        Self { tasks: tasks.collect(), stop }
    }

    /// Has each finish its last request.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

struct Publisher {
    name: String,
    turn: usize,
    made: usize,
    serving: watch::Receiver<Vec<Api>>,
    stop: watch::Receiver<bool>,
    tally: Arc<Mutex<Tally>>,
}

impl Publisher {
    async fn publish(mut self) {
        // Single events and arrays in turn. One request after the other, so the order in which the
        // events of an aggregate are stored is that of their numbers.
        for size in [1, 1, 4, 1, 2].into_iter().cycle() {
            if *self.stop.borrow() {
                return;
            }
            let events: Vec<_> = (0..size).map(|_| self.event().0).collect();
            self.insist(&json!(events).to_string()).await;
            let ids = events.iter().map(|event| event["id"].as_str().unwrap().to_owned());
            self.tally.lock().unwrap().acknowledged.extend(ids);
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn event(&mut self) -> Event {
        self.made += 1;
        let id = format!("{}-{:06}", self.name, self.made);
        let aggregate = format!("{}-{}", self.name, self.made % AGGREGATES);
        Event::new(&id).set("/aggregateId", aggregate).to(1 + self.made as i64 % USERS)
    }

    /// Sends a request until it is acknowledged, to one instance after the other.
    async fn insist(&mut self, body: &str) {
        let begun = Instant::now();
        loop {
            let api = {
                let serving = self.serving.borrow();
                serving[self.turn % serving.len()].clone()
            };
            let answer = timeout(PATIENCE, api.try_send(Method::POST, "/v1/events", JSON, body.to_owned()));
            match answer.await {
                Ok(Ok(answer)) if answer.status == 202 => break,
                Ok(Ok(answer)) => {
                    assert!(!answer.header("retry-after").is_empty(), "{}: {}", answer.status, answer.text);
                    answer.problem(503);
                    self.tally.lock().unwrap().turned_away += 1;
                    self.turn += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(Err(_)) | Err(_) => {
                    self.tally.lock().unwrap().unanswered += 1;
                    self.turn += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        let mut tally = self.tally.lock().unwrap();
        tally.slowest = tally.slowest.max(begun.elapsed());
    }
}

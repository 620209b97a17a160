//! Tells a browser when it should look again (Server-Sent Events, HTML Living Standard §9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio::time::Instant as Tick;

use super::page::{Refused, answer};
use crate::actors::NotificationsChanged;
use crate::domain::Scope;
use crate::http::auth::Session;
use crate::http::{Api, Problem};

/// A browser is told no more often than this.
const APART: Duration = Duration::from_millis(500);
/// How soon a stream ends when the process stops: an open stream would hold the stop.
const LOOK: Duration = Duration::from_millis(250);
/// How soon a stream ends when its session does.
const SESSION: Duration = Duration::from_secs(5);
/// A comment at least this often keeps the connection, and finds out when the browser is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The stream.
pub(super) async fn stream(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    let session = Session::of(&request, &api).await?.ok_or_else(Problem::unauthorized)?;
    session.needs(Scope::Read)?;
    let room = Arc::clone(&api.dashboard.watchers).try_acquire_owned();
    let room = room.map_err(|_| Problem::unavailable("as many browsers watch as may"))?;
    let changes = api.changes.subscribe();
    let now = Tick::now();
    let watch = Watch {
        api,
        session,
        changes,
        phase: Phase::Open,
        changed: false,
        told: None,
        spoke: now,
        looked: now,
        _room: room,
    };
    let events = stream::unfold(watch, async |mut watch| {
        let text = watch.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from_static(text.as_bytes())), watch))
    });
    Ok(answer(StatusCode::OK)
        .content_type("text/event-stream")
        // nginx would collect what is to arrive at once.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events))
}

/// How far a stream is.
enum Phase {
    Open,
    Watching,
    Over,
}

/// One browser that watches.
struct Watch {
    api: web::Data<Api>,
    session: Session,
    changes: broadcast::Receiver<NotificationsChanged>,
    phase: Phase,
    /// Something has changed since the browser was told.
    changed: bool,
    told: Option<Tick>,
    spoke: Tick,
    /// When the session was last looked up.
    looked: Tick,
    _room: OwnedSemaphorePermit,
}

impl Watch {
    /// What to say next, when there is something; none at the end.
    async fn next(&mut self) -> Option<&'static str> {
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Watching;
                return Some("retry: 2000\n: open\n\n");
            }
            Phase::Watching => {}
            Phase::Over => return None,
        }
        loop {
            if self.api.instance.is_stopping() {
                return None;
            }
            if self.looked.elapsed() >= SESSION {
                self.looked = Tick::now();
                if !self.session.goes_on(&self.api).await {
                    self.phase = Phase::Over;
                    return Some("event: ended\ndata: session\n\n");
                }
            }
            if self.changed && self.told.is_none_or(|told| told.elapsed() >= APART) {
                self.forget_backlog();
                self.changed = false;
                self.told = Some(Tick::now());
                self.spoke = Tick::now();
                return Some("event: changed\ndata: notifications\n\n");
            }
            if self.spoke.elapsed() >= HEARTBEAT {
                self.spoke = Tick::now();
                return Some(": still here\n\n");
            }
            tokio::select! {
                change = self.changes.recv(), if !self.changed => match change {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.changed = true,
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// What came until now is told by one word.
    fn forget_backlog(&mut self) {
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = self.changes.try_recv() {}
    }
}

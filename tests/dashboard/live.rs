//! The page follows what happens.

use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::harness::{Db, Event, Herald, LATE, SOON, ingest, on_both, settle, user, wait_until};
use crate::retry::{CLOSED, QUICK};
use crate::visitor::{Visitor, link};

on_both!(a_watcher_is_told_of_a_change, a_watcher_does_not_hold_a_stop);

async fn a_watcher_is_told_of_a_change(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let admin = herald.api("admin").await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let begun = Instant::now();
    let mut stream = visitor.watch(&herald).await;
    ingest(&admin, &Event::new("e-1").to(7777)).await;
    stream.until("event: changed\ndata: ", SOON).await;
    wait_until(SOON, "the notification", async || {
        visitor.get("/notifications/fragment").await.expect(200).text.contains("7777").then_some(())
    })
    .await;

    for n in 0..200 {
        ingest(&admin, &Event::new(&format!("many-{n}")).to(7777)).await;
    }
    settle(&admin).await;
    stream.until("event: changed", SOON).await;
    let rest = stream.rest(Duration::from_secs(1)).await;
    let (told, most) = (rest.matches("event: changed").count() + 2, begun.elapsed().as_millis() / 500 + 2);
    assert!(told as u128 <= most, "{told} times, where {most} is the most at two a second");
}

async fn a_watcher_does_not_hold_a_stop(db: Db) {
    let mut herald = Herald::start(db, &[]).await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(visitor.watch(&herald).await);
    }
    let begun = Instant::now();
    herald.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    for stream in streams {
        assert!(!stream.rest(SOON).await.contains("ended"), "the session goes on; only the stream is over");
    }
}

#[tokio::test]
async fn no_more_browsers_watch_than_may() {
    let herald = Herald::start(Db::Sqlite, &[("HERALD__LIMITS__LIVE_FEED__CLIENTS", "2")]).await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let first = visitor.watch(&herald).await;
    let _second = visitor.watch(&herald).await;
    let refused = visitor.get("/notifications/stream").await.expect(503);
    assert_eq!(refused.header("retry-after"), "1");
    visitor.get("/notifications").await.expect(200);
    drop(first);
    // Whoever went is noticed at the next word to them.
    wait_until(LATE, "room", async || {
        let free = visitor.try_watch(&herald).await;
        free.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_browser_shows_what_comes_without_loading_the_page_again() {
    let herald = Herald::start_with(Db::Sqlite, QUICK, CLOSED).await;
    let admin = herald.api("admin").await;
    let mut browser = Browser::open(&format!("{}{}", herald.base, link(&herald).await));
    browser.until("document.getElementById('connection').textContent === 'live'");
    assert_eq!(browser.ask("location.pathname"), "/notifications");
    assert_eq!(browser.ask("document.body.innerText.includes('No notifications yet.')"), true);
    browser.ask("window.loadedOnce = true");

    user(&admin, 8181).await;
    ingest(&admin, &Event::new("e-1").to(8181)).await;
    browser.until("document.querySelector('#part-latest tbody td.number')?.textContent === '8181'");
    settle(&admin).await;
    browser.until("document.querySelector('#part-failed button[id^=retry-]') !== null");
    assert_eq!(browser.ask("window.loadedOnce"), true, "the page is still the first one");

    // Its Retry stays on the page as well, and says what it did.
    browser.ask("document.querySelector('#part-failed button[id^=retry-]').click()");
    browser.until("document.getElementById('notice').innerText === '1 was put back to work.'");
    assert_eq!(browser.ask("window.loadedOnce"), true);

    // Nothing was refused by the page's own policy, and nothing went wrong in the script.
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

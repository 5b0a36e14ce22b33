//! A stream of HTTP/2 whose client opens its window no more holds an upstream's connection only so long.
//!
//! hyper asks for nothing then: neither the body nor the service is polled, and no timer of theirs runs. So the task of a
//! stream watches itself, by what was polled the last time it ran.

use http_kit::Timer;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

thread_local! {
    static LAST: Cell<Last> = const { Cell::new(Last::Nothing) };
}

/// What a stream last asked of us while it was polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing: it waits for its client.
    Nothing,
    /// Something that we had.
    Had,
    /// Something that we, or an upstream, have yet to give: those waits have ends of their own.
    Wanted,
}

/// Notes what a stream asked for.
pub(super) fn noted<T>(polled: Poll<T>) -> Poll<T> {
    LAST.set(if polled.is_pending() { Last::Wanted } else { Last::Had });
    polled
}

/// Runs a stream to its end, or until its client took nothing for so long.
pub(super) async fn bounded(stream: impl Future<Output = ()>, longest: Duration) {
    let (mut stream, mut timer, mut since) = (pin!(stream), Timer::default(), None);
    poll_fn(|cx| {
        LAST.set(Last::Nothing);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let begins = match LAST.get() {
            Last::Wanted => {
                since = None;
                return Poll::Pending;
            }
            Last::Had => Instant::now(),
            Last::Nothing => since.unwrap_or_else(Instant::now),
        };
        since = Some(begins);
        ready!(timer.poll(cx, begins + longest));
        tracing::debug!("a client took nothing of an answer for too long");
        Poll::Ready(())
    })
    .await;
}

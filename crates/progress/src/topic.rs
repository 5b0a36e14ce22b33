//! One watched operation on this node: its ring, who waits for it, and the task that keeps it true.
//!
//! The channel only hints. What counts is the sequence: what does not follow the last event is read from the log, and
//! a look at its end now and then finds a lost last hint.

use crate::frame::{Reset, gone, heartbeat, retry, whole};
use crate::hub::HubSettings;
use crate::log::Notice;
use crate::ring::Taken;
use crate::view::View;
use crate::{Cursor, Operations, ProgressError};
use bytes::Bytes;
use domain::OperationId;
use redis_core::{Hint, Subscription};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

/// One watched operation. Its task lives until `stop`.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: OperationId,
    pub(crate) stop: CancellationToken,
    /// How often the log's end was compared, and what was found last.
    checked: watch::Sender<Checked>,
    check_wanted: Notify,
    inner: Mutex<Inner>,
}

/// The result of the last look at Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) times: u64,
    pub(crate) found: Found,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    /// Not looked yet.
    #[default]
    Nothing,
    /// It is there.
    Live,
    /// No such operation, or no more.
    Gone,
    /// Redis did not answer.
    Away,
}

#[derive(Debug)]
struct Inner {
    view: View,
    gone: bool,
    /// Readers whose slot is below it (modulo [`WAVES`]) end now.
    drained: usize,
    beats: u64,
    beat: Bytes,
    snapshot: Option<Arc<Whole>>,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    watchers: usize,
}

/// A snapshot, as JSON.
#[derive(Debug)]
pub(crate) struct Whole {
    cursor: Cursor,
    is_final: bool,
    /// The life of the view that it was read in.
    life: u64,
    json: String,
}

/// Where a reader of a topic is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) life: u64,
    pub(crate) seq: u64,
    /// Up to here it replays, and gets everything; behind it percentages may be left out.
    pub(crate) conflate_after: u64,
    pub(crate) beats: u64,
}

/// What a reader does next.
pub(crate) enum Next {
    /// Send this and stay at `Place`.
    Send(Bytes),
    /// Send this; nothing follows.
    Last(Bytes),
    /// Begin anew from a snapshot.
    Reset(Reset),
    /// Wait; the waker is kept.
    Wait,
}

/// How a cursor stands to the log.
pub(crate) enum Judged {
    /// Go on from it.
    Here(Place),
    /// It is at the end, and the operation has ended.
    Over,
    /// Begin anew.
    Reset(Reset),
}

impl Topic {
    pub(crate) fn new(id: OperationId, stop: CancellationToken) -> Self {
        let inner = Inner {
            view: View::default(),
            gone: false,
            drained: 0,
            beats: 0,
            beat: Bytes::new(),
            snapshot: None,
            wakers: Vec::new(),
            free: Vec::new(),
            watchers: 0,
        };
        Self {
            id,
            stop,
            checked: watch::Sender::default(),
            check_wanted: Notify::new(),
            inner: Mutex::new(inner),
        }
    }

    /// Waits until Redis was looked at once more than `before`.
    pub(crate) async fn checked_after(&self, before: u64) -> Found {
        let mut checked = self.checked.subscribe();
        let seen = checked.wait_for(|checked| checked.times > before).await;
        // The sender lives in `self`.
        seen.map_or(Found::Away, |checked| checked.found)
    }

    /// How often Redis was looked at, for [`Topic::checked_after`]; and asks for another look.
    pub(crate) fn want_check(&self) -> u64 {
        let before = self.checked.borrow().times;
        self.check_wanted.notify_one();
        before
    }

    /// Judges a cursor against what is known here.
    pub(crate) fn judge(&self, cursor: Cursor) -> Judged {
        let inner = self.lock();
        if inner.view.epoch != Some(cursor.epoch) {
            return Judged::Reset(Reset::Foreign);
        }
        if cursor.seq > inner.view.ring.last() {
            return Judged::Reset(Reset::Future);
        }
        if inner.view.ended && cursor.seq == inner.view.ring.last() {
            return Judged::Over;
        }
        if !inner.view.ring.reaches(cursor.seq) {
            return Judged::Reset(Reset::TooOld);
        }
        Judged::Here(inner.place(cursor.seq))
    }

    /// A snapshot for a new reader: the cached one while the ring goes on from it without much to replay, else a fresh
    /// one. At most one round trip.
    pub(crate) async fn whole(&self, operations: &Operations) -> Result<Option<Arc<Whole>>, ProgressError> {
        if let Some(cached) = self.cached() {
            return Ok(Some(cached));
        }
        let life = self.lock().view.life;
        let Some(snapshot) = operations.snapshot(&self.id).await? else { return Ok(None) };
        let cursor: Cursor = snapshot.cursor.parse().map_err(|_| ProgressError::format("the operation"))?;
        let json = serde_json::to_string(&snapshot).map_err(|_| ProgressError::format("the operation"))?;
        let whole = Arc::new(Whole { cursor, is_final: snapshot.state.is_final(), life, json });
        self.lock().snapshot = Some(Arc::clone(&whole));
        Ok(Some(whole))
    }

    fn cached(&self) -> Option<Arc<Whole>> {
        let inner = self.lock();
        let cached = inner.snapshot.as_ref()?;
        let view = &inner.view;
        let current = view.epoch == Some(cached.cursor.epoch)
            && (view.life, view.ended) == (cached.life, cached.is_final)
            && view.ring.reaches(cached.cursor.seq)
            && cached.cursor.seq + REPLAY_AFTER_SNAPSHOT >= view.ring.last();
        current.then(|| Arc::clone(cached))
    }

    /// The frame of a snapshot, and where its reader goes on; no place when nothing follows.
    pub(crate) fn open_with(&self, whole_state: &Whole, reset: Option<Reset>) -> (Bytes, Option<Place>) {
        let inner = self.lock();
        let cursor = whole_state.cursor;
        let frame = |id| whole(reset, id, &whole_state.json);
        if !whole_state.is_final {
            return (frame(Some(cursor)), Some(inner.place(cursor.seq)));
        }
        // The final event follows and moves the browser's cursor: unless the log is lost, as memory was short.
        let same_life = inner.view.epoch == Some(cursor.epoch);
        let to_come = inner.view.ring.last() < cursor.seq || inner.view.ring.frame(cursor.seq).is_some();
        if same_life && to_come && cursor.seq > 0 {
            return (frame(None), Some(inner.place(cursor.seq - 1)));
        }
        (frame(Some(cursor)), None)
    }

    /// What comes next for a reader; moves its place.
    pub(crate) fn next(&self, place: &mut Place, slot: usize, beats: bool, waker: &Waker) -> Next {
        let mut inner = self.lock();
        if slot % WAVES < inner.drained {
            return Next::Last(retry(rand::random_range(DRAIN_RETRY_MS)));
        }
        if inner.gone {
            return Next::Last(gone(&self.id));
        }
        if place.life != inner.view.life {
            return Next::Reset(Reset::Foreign);
        }
        match inner.view.ring.take(place.seq, place.conflate_after) {
            Taken::Frames { bytes, seq, is_final } => {
                place.seq = seq;
                place.beats = inner.beats;
                if is_final { Next::Last(bytes) } else { Next::Send(bytes) }
            }
            Taken::TooOld => Next::Reset(Reset::TooOld),
            Taken::Nothing if beats && place.beats != inner.beats => {
                place.beats = inner.beats;
                Next::Send(inner.beat.clone())
            }
            Taken::Nothing => {
                inner.wakers[slot] = Some(waker.clone());
                Next::Wait
            }
        }
    }

    /// A new watcher's slot.
    pub(crate) fn join(&self) -> usize {
        let mut inner = self.lock();
        inner.watchers += 1;
        inner.free.pop().unwrap_or_else(|| {
            inner.wakers.push(None);
            inner.wakers.len() - 1
        })
    }

    /// Gives a slot back; true when nobody watches any more.
    pub(crate) fn leave(&self, slot: usize) -> bool {
        let mut inner = self.lock();
        inner.wakers[slot] = None;
        inner.free.push(slot);
        inner.watchers -= 1;
        inner.watchers == 0
    }

    /// Whether new watchers must take a new topic: this one has found nothing.
    pub(crate) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Ends the readers of the first `waves` waves.
    pub(crate) fn drain(&self, waves: usize) {
        self.change(|inner| inner.drained = waves);
    }

    /// Keeps the topic true until it is stopped. Only it changes the ring.
    pub(crate) async fn follow(self: Arc<Self>, operations: Operations, settings: HubSettings) {
        tokio::select! { // Reads only: nothing is lost when it is dropped.
            () = self.stop.cancelled() => {}
            () = self.follow_for_ever(&operations, &settings) => {}
        }
    }

    async fn follow_for_ever(&self, operations: &Operations, settings: &HubSettings) {
        let mut subscription: Option<Subscription> = None;
        let begin = Instant::now();
        let mut heartbeat_timer = interval_at(begin + settings.heartbeat, settings.heartbeat);
        heartbeat_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut position_timer = interval_at(begin + settings.position_check, settings.position_check);
        position_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut read_at, mut failures, mut quiet) = (Some(begin), 0_u32, true);
        loop {
            let next_read = async {
                match read_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let hint = async {
                match &mut subscription {
                    Some(subscription) => subscription.recv().await,
                    None => std::future::pending().await,
                }
            };
            let read_now = tokio::select! {
                biased;
                () = next_read => true,
                () = self.check_wanted.notified() => true,
                hint = hint => {
                    quiet = false;
                    match hint {
                        Hint::Message(message) => !self.hear(&message),
                        Hint::Gap => true,
                    }
                }
                _ = position_timer.tick() => {
                    // A busy channel shows its own holes.
                    let look = std::mem::replace(&mut quiet, true);
                    look && read_at.is_none() && !self.is_at_the_end(operations).await
                }
                _ = heartbeat_timer.tick() => {
                    self.beat(operations);
                    false
                }
            };
            if !read_now {
                continue;
            }
            // Subscribed before the log is read, so that nothing falls in between.
            if subscription.is_none() {
                subscription = operations.subscribe(&self.id).await.ok();
            }
            let found = if subscription.is_some() { self.read(operations).await } else { Found::Away };
            if found == Found::Away {
                failures += 1;
                read_at = Some(Instant::now() + pause(failures));
            } else {
                (read_at, failures) = (None, 0);
            }
            self.checked.send_modify(|checked| *checked = Checked { times: checked.times + 1, found });
        }
    }

    /// Takes over a hint; false when the log has to be read.
    fn hear(&self, message: &[u8]) -> bool {
        let Some(notice) = Notice::read(message) else { return false };
        self.change(|inner| {
            let last = inner.view.ring.last();
            if inner.view.epoch != Some(notice.epoch) || notice.first > last + 1 || notice.first == 0 {
                return false;
            }
            if notice.events.len() as u64 != notice.last + 1 - notice.first {
                return notice.last <= last;
            }
            (notice.first..)
                .zip(notice.events)
                .all(|(seq, event)| inner.view.absorb(&self.id, notice.epoch, seq, event))
        })
    }

    /// Reads what the log has after the last event, and that event again: a Redis that lost it has another one there.
    async fn read(&self, operations: &Operations) -> Found {
        let known = {
            let inner = self.lock();
            inner.view.epoch.map(|epoch| Cursor { epoch, seq: inner.view.ring.last().saturating_sub(1) })
        };
        match operations.tail(&self.id, known).await {
            Ok(Some(tail)) => {
                self.change(|inner| inner.view.take_over(&self.id, tail));
                Found::Live
            }
            Ok(None) => {
                self.change(|inner| inner.gone = true);
                Found::Gone
            }
            Err(error) => {
                tracing::debug!(operation.id = %self.id, error = %error, "could not read the log of {}: {error}", self.id);
                Found::Away
            }
        }
    }

    /// One command of a few bytes instead of a read of the log.
    async fn is_at_the_end(&self, operations: &Operations) -> bool {
        let position = operations.position(&self.id).await;
        let inner = self.lock();
        let ours = inner.view.epoch.map(|epoch| Cursor { epoch, seq: inner.view.ring.last() });
        matches!(position, Ok(position) if position == ours)
    }

    fn beat(&self, operations: &Operations) {
        let beat = heartbeat(operations.redis().clock().now());
        self.change(|inner| {
            inner.beats += 1;
            inner.beat = beat;
        });
    }

    /// Changes the state, then wakes whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        let waiting: Vec<Waker> = inner.wakers.iter_mut().filter_map(Option::take).collect();
        // Woken outside the lock, which they take next.
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn place(&self, seq: u64) -> Place {
        Place { life: self.view.life, seq, conflate_after: self.view.ring.last(), beats: self.beats }
    }
}

/// Full jitter, from 50 ms up to 2 s.
fn pause(failures: u32) -> Duration {
    let most = (50_u64 << failures.min(6)).min(2_000);
    Duration::from_millis(rand::random_range(10..=most))
}

/// A cached snapshot serves new readers while at most this many events follow it.
const REPLAY_AFTER_SNAPSHOT: u64 = 32;
/// Parts in which a drain ends its readers.
pub(crate) const WAVES: usize = 10;
/// When a browser comes back after a drain.
const DRAIN_RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=10_000;

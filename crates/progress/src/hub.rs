//! `Hub`: all watchers of one node.

use crate::frame::Reset;
use crate::topic::{Found, Judged, Place, Topic, WAVES};
use crate::{Cursor, Operations, ProgressError, Watcher};
use domain::OperationId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Serves any number of watchers of any operation. Cheap to clone; one per process.
///
/// An operation is subscribed to with its first watcher and left with its last; each has one task.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    operations: Operations,
    settings: HubSettings,
    topics: Mutex<HashMap<OperationId, Arc<Topic>>>,
    watchers: AtomicUsize,
    draining: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
}

/// What can be set about a hub.
#[derive(Clone, Copy, Debug)]
pub struct HubSettings {
    /// Watchers at once; one more is shed.
    pub watchers_max: usize,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Between two looks at the end of a quiet log.
    pub position_check: Duration,
    /// How long a new watcher may wait for Redis.
    pub open_within: Duration,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            watchers_max: 20_000,
            heartbeat: Duration::from_secs(15),
            position_check: Duration::from_secs(5),
            open_within: Duration::from_secs(2),
        }
    }
}

/// What a request to watch gets.
#[derive(Debug)]
pub enum Watched {
    /// A stream of frames.
    Stream(Watcher),
    /// The operation has ended, and the cursor is at its last event: there is nothing to come, ever.
    Over,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Nobody created it, or it has expired.
    #[error("no such operation")]
    NotFound,
    /// Too many watchers, a shutdown, or no Redis: come back later.
    #[error("this node takes no more watchers now")]
    Shed,
}

impl Hub {
    /// A hub; its tasks run on the runtime that this is called in.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(operations: Operations, settings: HubSettings) -> Self {
        Self(Arc::new(Inner {
            operations,
            settings,
            topics: Mutex::default(),
            watchers: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        }))
    }

    /// Watches one operation from a cursor on, or from a snapshot when there is none.
    ///
    /// A cursor that is unknown, foreign, too old or in the future begins with a `reset` that carries the snapshot.
    /// No round trip for a cursor that the node's ring reaches, one for a snapshot, two for the first watcher.
    ///
    /// # Errors
    /// [`WatchError::NotFound`]; [`WatchError::Shed`] with too many watchers, while draining, or without Redis.
    pub async fn watch(&self, id: &OperationId, cursor: Option<&str>) -> Result<Watched, WatchError> {
        let seat = self.sit(id)?;
        let opening = self.open(&seat, cursor);
        tokio::time::timeout(self.0.settings.open_within, opening).await.map_err(|_| WatchError::Shed)?.map(
            |opened| match opened {
                Opened::Over => Watched::Over,
                Opened::At(place) => Watched::Stream(Watcher::at(seat, self.0.operations.clone(), place)),
                Opened::With(reset) => Watched::Stream(Watcher::anew(seat, self.0.operations.clone(), reset)),
            },
        )
    }

    /// Waits until something happened after `cursor`, at most `wait`: for clients that poll. Returns at once when the
    /// cursor is not of this life of the operation, or has ended.
    ///
    /// # Errors
    /// As [`Hub::watch`].
    pub async fn wait(&self, id: &OperationId, cursor: &str, wait: Duration) -> Result<(), WatchError> {
        if let Watched::Stream(mut watcher) = self.watch(id, Some(cursor)).await? {
            watcher.without_heartbeats();
            let _time_is_up = tokio::time::timeout(wait, watcher.next()).await;
        }
        Ok(())
    }

    /// How many watch now.
    pub fn watchers(&self) -> usize {
        self.0.watchers.load(Ordering::Relaxed)
    }

    /// How many operations are watched now.
    pub fn topics(&self) -> usize {
        self.0.topics().len()
    }

    /// Takes no new watchers, and ends those it has in waves spread over `within`, each told when to come back.
    pub async fn drain(&self, within: Duration) {
        self.0.draining.store(true, Ordering::Relaxed);
        for wave in 1..=WAVES {
            let topics: Vec<_> = self.0.topics().values().cloned().collect();
            topics.iter().for_each(|topic| topic.drain(wave));
            if self.watchers() == 0 {
                break;
            }
            tokio::time::sleep(within / WAVES as u32).await;
        }
    }

    /// Stops every task and waits for them. Watchers that are left get nothing more.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Counts a watcher in, and finds or makes its topic.
    fn sit(&self, id: &OperationId) -> Result<Seat, WatchError> {
        let inner = &self.0;
        let room = |watchers: usize| (watchers < inner.settings.watchers_max).then_some(watchers + 1);
        if inner.draining.load(Ordering::Relaxed)
            || inner.watchers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err()
        {
            return Err(WatchError::Shed);
        }
        let mut topics = inner.topics();
        let living = topics.get(id).filter(|topic| !topic.is_gone()).cloned();
        let topic = living.unwrap_or_else(|| {
            let topic = Arc::new(Topic::new(id.clone(), inner.stop.child_token()));
            topics.insert(id.clone(), Arc::clone(&topic));
            let follow = Arc::clone(&topic).follow(inner.operations.clone(), inner.settings);
            inner.tasks.spawn_on(follow, &inner.runtime);
            topic
        });
        let slot = topic.join();
        drop(topics);
        Ok(Seat { hub: self.clone(), topic, slot })
    }

    async fn open(&self, seat: &Seat, cursor: Option<&str>) -> Result<Opened, WatchError> {
        match seat.topic.checked_after(0).await {
            Found::Gone => return Err(WatchError::NotFound),
            Found::Away | Found::Nothing => return Err(WatchError::Shed),
            Found::Live => {}
        }
        let Some(text) = cursor else { return Ok(Opened::With(None)) };
        let Ok(cursor) = text.parse::<Cursor>() else { return Ok(Opened::With(Some(Reset::Unknown))) };
        let mut judged = seat.topic.judge(cursor);
        if matches!(judged, Judged::Reset(Reset::Future | Reset::Foreign)) {
            // Another node may have shown an event whose hint is still on its way to us.
            let before = seat.topic.want_check();
            match seat.topic.checked_after(before).await {
                Found::Gone => return Err(WatchError::NotFound),
                Found::Away | Found::Nothing => return Err(WatchError::Shed),
                Found::Live => judged = seat.topic.judge(cursor),
            }
        }
        Ok(match judged {
            Judged::Here(place) => Opened::At(place),
            Judged::Over => Opened::Over,
            Judged::Reset(reason) => Opened::With(Some(reason)),
        })
    }
}

enum Opened {
    Over,
    At(Place),
    With(Option<Reset>),
}

/// A watcher's place in its topic. Dropping it counts it out; the last one stops the topic.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Hub,
    pub(crate) topic: Arc<Topic>,
    pub(crate) slot: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let inner = &self.hub.0;
        inner.watchers.fetch_sub(1, Ordering::Relaxed);
        // Under the lock of the table, so that nobody sits down in between.
        let mut topics = inner.topics();
        if self.topic.leave(self.slot) {
            self.topic.stop.cancel();
            if topics.get(&self.topic.id).is_some_and(|topic| Arc::ptr_eq(topic, &self.topic)) {
                topics.remove(&self.topic.id);
            }
        }
    }
}

impl Inner {
    fn topics(&self) -> MutexGuard<'_, HashMap<OperationId, Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<ProgressError> for WatchError {
    fn from(error: ProgressError) -> Self {
        if matches!(error, ProgressError::NotFound) { Self::NotFound } else { Self::Shed }
    }
}

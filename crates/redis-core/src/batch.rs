//! Group commit: many small calls of one script become few.
//!
//! One EVALSHA costs Redis 6 to 10 µs whatever is in it, so concurrent calls of the same script on the same keys share
//! one. Send when idle; while a call is in flight, collect; when it returns, send all that has come. Nobody waits for
//! a timer. Each thread has its own, beside its own connection. Source: DeWitt et al., "Implementation techniques for
//! main memory database systems" (1984), section 5.2.

use crate::pool::home;
use crate::{Arg, Key, Redis, RedisError, Reply, Script};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What belongs together: the same script (by its hash) on the same keys, and so in the same slot; or the same script,
/// and each item brings its keys.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Lane {
    sha: &'static str,
    keys: Option<Vec<Key>>,
}

/// Whose keys an item is about.
pub(crate) enum Keys<'a> {
    /// The same as those of every item that it travels with.
    Shared(&'a [Key]),
    /// Its own.
    Own(Vec<Key>),
}

struct Waiting {
    /// The item's own keys; none where the lane has the keys of all.
    keys: Vec<Key>,
    item: Vec<Arg>,
    answer: oneshot::Sender<Result<Reply, RedisError>>,
}

/// The lanes that have a call in flight, and who waits behind it; one table a thread.
pub(crate) struct Batchers(Vec<Mutex<HashMap<Lane, VecDeque<Waiting>>>>);

impl Batchers {
    pub(crate) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    /// Items that wait for the call in flight before theirs.
    pub(crate) fn waiting(&self) -> usize {
        let lanes = |thread| self.lanes(thread).values().map(VecDeque::len).sum::<usize>();
        (0..self.0.len()).map(lanes).sum()
    }

    pub(crate) async fn submit(
        &self,
        redis: &Redis,
        script: &'static Script,
        keys: Keys<'_>,
        item: Vec<Arg>,
    ) -> Result<Reply, RedisError> {
        assert_eq!(
            item.len(),
            script.width(),
            "an item of {} has {} arguments",
            script.name(),
            script.width()
        );
        // Refused before it waits behind a call that has its deadline still before it.
        let _it_will_ask_again = redis.admit()?;
        // The sender goes only with its runtime.
        self.join(redis, script, keys, item)?.await.unwrap_or(Err(RedisError::Unknown))
    }

    /// Waits behind the call in flight, or becomes the next.
    fn join(
        &self,
        redis: &Redis,
        script: &'static Script,
        keys: Keys<'_>,
        item: Vec<Arg>,
    ) -> Result<oneshot::Receiver<Result<Reply, RedisError>>, RedisError> {
        let thread = home() % self.0.len();
        let (shared, keys) = match keys {
            Keys::Shared(keys) => (Some(keys.to_vec()), Vec::new()),
            Keys::Own(keys) => (None, keys),
        };
        let lane = Lane { sha: script.sha(), keys: shared };
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { keys, item, answer };

        let mut lanes = self.lanes(thread);
        match lanes.get_mut(&lane) {
            Some(queue) if queue.len() >= LONGEST_QUEUE => return Err(RedisError::Overloaded),
            Some(queue) => queue.push_back(waiting),
            None => {
                lanes.insert(lane.clone(), VecDeque::new());
                // A task of its own: a caller that goes away must not take the others' call with it.
                redis.tasks().spawn(drain(redis.clone(), script, thread, lane, waiting));
            }
        }
        Ok(answered)
    }

    fn lanes(&self, thread: usize) -> MutexGuard<'_, HashMap<Lane, VecDeque<Waiting>>> {
        self.0[thread].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the first, then whatever has come meanwhile, until nothing has.
async fn drain(redis: Redis, script: &'static Script, thread: usize, lane: Lane, first: Waiting) {
    let mut batch = vec![first];
    let mut held = Held { redis, thread, lane: Some(lane) };
    while let Some(lane) = &held.lane {
        send(&held.redis, script, lane, batch).await;
        batch = held.next_batch();
    }
}

/// A lane with a call in flight. When its task ends early, with its runtime, whoever waits hears `Unknown` rather than
/// nothing, and the next caller begins anew.
struct Held {
    redis: Redis,
    thread: usize,
    lane: Option<Lane>,
}

impl Held {
    /// What has come during the call; nothing gives the lane back.
    fn next_batch(&mut self) -> Vec<Waiting> {
        let mut lanes = self.redis.batchers().lanes(self.thread);
        let Some(lane) = &self.lane else { return Vec::new() };
        let batch: Vec<_> =
            lanes.get_mut(lane).map(|queue| queue.drain(..how_many(queue)).collect()).unwrap_or_default();
        if batch.is_empty() {
            lanes.remove(lane);
            self.lane = None;
        }
        batch
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            self.redis.batchers().lanes(self.thread).remove(lane);
        }
    }
}

/// One call for all of them, one answer for each.
async fn send(redis: &Redis, script: &Script, lane: &Lane, batch: Vec<Waiting>) {
    let mut keys = lane.keys.clone().unwrap_or_default();
    let mut args = Vec::with_capacity(batch.len() * script.width());
    let mut answers = Vec::with_capacity(batch.len());
    for waiting in batch {
        keys.extend(waiting.keys);
        args.extend(waiting.item);
        answers.push(waiting.answer);
    }
    let replies = redis.run(script, &keys, args).await.and_then(|reply| {
        let replies = reply.into_array()?;
        if replies.len() == answers.len() {
            Ok(replies)
        } else {
            Err(RedisError::Protocol(format!("{} answers to {} items", replies.len(), answers.len())))
        }
    });
    match replies {
        Ok(replies) => {
            for (answer, reply) in answers.into_iter().zip(replies) {
                let _ = answer.send(reply.ok());
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

/// How many of those that wait share the next call: a script copies every byte, so large items bound it, too.
fn how_many(queue: &VecDeque<Waiting>) -> usize {
    let mut bytes = 0;
    let fits = |waiting: &&Waiting| {
        let first = bytes == 0;
        bytes += waiting.item.iter().map(Arg::len).sum::<usize>();
        first || bytes <= LARGEST_BATCH_BYTES
    };
    queue.iter().take(LARGEST_BATCH).take_while(fits).count()
}

const LARGEST_BATCH: usize = 64;
const LARGEST_BATCH_BYTES: usize = 1024 * 1024;
const LONGEST_QUEUE: usize = 4_096;

//! What clients saw, one record a request. The judge reads nothing else.

use std::time::Duration;

/// A part of Sluice that answers clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    CacheApi,
    Gateway,
    QueueWorker,
    ProgressSse,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::CacheApi, Self::Gateway, Self::QueueWorker, Self::ProgressSse];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CacheApi => "cache-api",
            Self::Gateway => "ratelimit-gateway",
            Self::QueueWorker => "queue-worker",
            Self::ProgressSse => "progress-sse",
        }
    }
}

/// One request, from the client's side. Times count from the beginning of the run.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) service: Service,
    pub(crate) sent: Duration,
    pub(crate) ended: Duration,
    pub(crate) answer: Answer,
    /// What the client learned from a good answer.
    pub(crate) fact: Option<Fact>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As it does on a good day.
    Good,
    /// Redis is away, and the answer says so as DESIGN section 9 has it: 503 with a time to come again.
    Away {
        /// The last part of the problem's type.
        kind: String,
    },
    /// Anything else: a promise that was broken.
    Wrong {
        /// For a person.
        what: String,
    },
    /// Nothing within the client's patience.
    None,
}

/// What a good answer claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The entry has this version, or a later one, from now on.
    Wrote { name: String, version: u64 },
    /// The entry had this version. `stale`: the answer said that it may be old.
    Read { name: String, version: u64, stale: bool },
    /// The session exists from now on.
    LoggedIn { session: usize },
    /// Whether the session was known.
    Checked { session: usize, known: bool },
    /// The limit let this key's request pass.
    Admitted { key: String },
    /// The task will be done.
    Enqueued { task: String },
    /// The task was done by whoever held this token.
    Acknowledged { task: String, token: u64 },
    /// The state of a task after all is over.
    Ended { task: String, succeeded: bool },
    /// The operation's log has this message.
    Reported { operation: String, number: u64 },
    /// A watcher was shown this message.
    Watched { watcher: usize, operation: String, number: u64 },
}

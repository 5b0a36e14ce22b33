//! What may follow what in a task's life. The scripts repeat only the source states they need;
//! `tests/it/states.rs` walks every (state, event) pair through both and compares.

use domain::TaskState;

/// What happened to a task, in the past tense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its time or its backoff has come.
    Due,
    /// Every task that it waited for has ended as it must.
    ParentsDone,
    /// A task that it waited for failed, and its policy is to fail too.
    ParentFailed,
    /// A worker took it.
    Leased,
    /// The worker finished it.
    Acked,
    /// The worker handed it back untried: shutdown, or a limit. Costs no attempt.
    GivenBack,
    /// The worker reported a failure.
    Failed {
        /// How many attempts are left after this one; 0 also when the error was not retryable.
        attempts_left: u8,
    },
    /// The worker did not answer within its lease.
    LeaseExpired {
        /// How many lost leases are left after this one.
        crashes_left: u8,
    },
    /// Its `expires_at` passed before it was started.
    Expired,
    /// Somebody took it back.
    Cancelled,
    /// A person gave a dead letter another life.
    RetriedByHand,
}

/// An event that cannot happen in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {from} task cannot see {event:?}")]
pub struct Illegal {
    /// The state.
    pub from: TaskState,
    /// The event.
    pub event: Event,
}

/// The whole life of a task. What is not listed here cannot happen.
pub fn next(state: TaskState, event: Event) -> Result<TaskState, Illegal> {
    use {Event as E, TaskState as S};
    Ok(match (state, event) {
        (S::Blocked, E::ParentsDone) => S::Ready,
        (S::Blocked, E::ParentFailed) => S::Dead,
        (S::Scheduled | S::Retrying, E::Due) => S::Ready,
        (S::Ready, E::Leased) => S::Leased,
        (S::Leased, E::Acked) => S::Succeeded,
        (S::Leased, E::GivenBack) => S::Ready,
        (S::Leased, E::Failed { attempts_left: 0 } | E::LeaseExpired { crashes_left: 0 }) => S::Dead,
        (S::Leased, E::Failed { .. }) => S::Retrying,
        (S::Leased, E::LeaseExpired { .. }) => S::Ready,
        (S::Scheduled | S::Blocked | S::Ready | S::Retrying, E::Expired) => S::Cancelled,
        (S::Dead, E::RetriedByHand) => S::Ready,
        (state, E::Cancelled) if !state.is_final() => S::Cancelled,
        (from, event) => return Err(Illegal { from, event }),
    })
}

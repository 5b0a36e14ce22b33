//! The life of operations and steps: what may follow what. Pure; the scripts repeat only what they need of it, and a
//! test walks both.

use domain::{OperationState, StepState};

/// What a report says about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is as if it had never begun.
    Reset,
    /// It began, or began again after its end.
    Started,
    /// More of it is done.
    Progressed,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It was left out.
    Skipped,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 6] =
        [Self::Reset, Self::Started, Self::Progressed, Self::Completed, Self::Failed, Self::Skipped];

    /// The whole life of a step. What is not listed here cannot happen.
    ///
    /// An end said twice is one end, so that a report whose answer was lost can be sent again.
    ///
    /// # Errors
    /// [`Illegal`]: the state forbids the change.
    pub fn on(self, state: StepState) -> Result<StepState, Illegal> {
        use {Change as C, StepState as S};
        Ok(match (state, self) {
            (_, C::Reset) => S::Pending,
            (_, C::Started) => S::Running,
            (S::Pending | S::Running, C::Progressed) => S::Running,
            (S::Pending | S::Running | S::Completed, C::Completed) => S::Completed,
            (S::Pending | S::Running | S::Failed, C::Failed) => S::Failed,
            (S::Pending | S::Running | S::Skipped, C::Skipped) => S::Skipped,
            (state, change) => return Err(Illegal { state, change }),
        })
    }

    /// The name in Lua.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Started => "started",
            Self::Progressed => "progressed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl From<StepState> for Change {
    /// What brings a step into a state.
    fn from(state: StepState) -> Self {
        match state {
            StepState::Pending => Self::Reset,
            StepState::Running => Self::Started,
            StepState::Completed => Self::Completed,
            StepState::Failed => Self::Failed,
            StepState::Skipped => Self::Skipped,
        }
    }
}

/// A change that the state of a step forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {state} step cannot be {}: only running or pending it again comes first", .change.as_str())]
pub struct Illegal {
    /// Where the step is.
    pub state: StepState,
    /// What was said about it.
    pub change: Change,
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Well.
    Completed,
    /// Badly.
    Failed,
    /// Taken back.
    Cancelled,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// The state after it.
    pub fn state(self) -> OperationState {
        match self {
            Self::Completed => OperationState::Completed,
            Self::Failed => OperationState::Failed,
            Self::Cancelled => OperationState::Cancelled,
        }
    }

    /// The name in Lua.
    pub fn as_str(self) -> &'static str {
        self.state().as_str()
    }
}

/// What happened to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker leased its task.
    Announced,
    /// Something was reported.
    Reported,
    /// It ended.
    Ended(Ending),
    /// Its deadline passed without a report.
    Overdue,
}

/// The whole life of an operation; `None` is what cannot happen. (A later lease of a finished one begins a new life,
/// with a new epoch.) An end said twice is one end.
pub fn after(state: OperationState, event: Event) -> Option<OperationState> {
    use OperationState as S;
    match (state, event) {
        (S::Pending | S::Running, Event::Announced | Event::Reported) => Some(S::Running),
        (S::Pending | S::Running, Event::Ended(ending)) => Some(ending.state()),
        (S::Pending | S::Running, Event::Overdue) => Some(S::Failed),
        (state, Event::Ended(ending)) if state == ending.state() => Some(state),
        _ => None,
    }
}

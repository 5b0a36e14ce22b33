//! The words that the scripts answer with, and where an operation stands after them. Pure.

use crate::record::{operation_state, step_state};
use crate::report::percent;
use crate::{Cursor, ProgressError};
use domain::progress::Standing;
use domain::{OperationId, OperationState, StepState};
use redis_core::Reply;

/// An answer; `report` counts the reports of a call from 0.
pub(crate) enum Answer {
    Ok(Standing),
    Exists,
    Missing,
    Stale,
    Newer,
    Finished(OperationState),
    Illegal { report: usize, state: StepState },
    Unknown(usize),
    Crowded(usize),
    Steps(usize),
}

impl Answer {
    /// Reads an answer about `id`.
    pub(crate) fn read(id: &OperationId, reply: Reply) -> Result<Self, ProgressError> {
        let parts = reply.into_array()?;
        let parts: Vec<&str> = parts.iter().map(Reply::word).collect();
        let report = || parts.get(1).and_then(|text| text.parse().ok());
        let answer = match parts[..] {
            ["ok", epoch, seq, state, share] => (|| {
                let cursor = Cursor { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? };
                Some(Self::Ok(Standing {
                    id: id.clone(),
                    cursor: cursor.to_string(),
                    state: operation_state(state)?,
                    percent: percent(share.parse().ok()?),
                }))
            })(),
            ["exists"] => Some(Self::Exists),
            ["missing"] => Some(Self::Missing),
            ["stale"] => Some(Self::Stale),
            ["newer"] => Some(Self::Newer),
            ["finished", state] => operation_state(state).map(Self::Finished),
            ["illegal", _, state] => {
                report().zip(step_state(state)).map(|(report, state)| Self::Illegal { report, state })
            }
            ["unknown", _] => report().map(Self::Unknown),
            ["crowded", _] => report().map(Self::Crowded),
            ["steps", _] => report().map(Self::Steps),
            _ => None,
        };
        answer.ok_or_else(|| ProgressError::format("the answer"))
    }
}

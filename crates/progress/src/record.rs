//! From what Redis holds to a snapshot. Pure.

use crate::report::percent;
use crate::{Cursor, Epoch, ProgressError};
use domain::progress::{Snapshot, Step};
use domain::{CorrelationId, OperationId, OperationState, ProjectId, StepState, Timestamp};
use redis_core::Reply;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::str::FromStr;

/// What never changes in a life: the field `about`, as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct About {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<ProjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_id: Option<CorrelationId>,
}

/// Reads all fields of a state hash (`HGETALL`); none for an operation that is not there.
pub(crate) fn snapshot(id: &OperationId, fields: Vec<Reply>) -> Result<Option<Snapshot>, ProgressError> {
    if fields.is_empty() {
        return Ok(None);
    }
    Record::new(fields)
        .and_then(|record| record.snapshot(id))
        .map(Some)
        .ok_or_else(|| ProgressError::format("the operation"))
}

struct Record(HashMap<String, String>);

impl Record {
    fn new(fields: Vec<Reply>) -> Option<Self> {
        let (mut map, mut fields) = (HashMap::with_capacity(fields.len() / 2), fields.into_iter());
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            map.insert(name.into_string().ok()?, value.into_string().ok()?);
        }
        (map.get("version")? == "1").then_some(Self(map))
    }

    fn snapshot(&self, id: &OperationId) -> Option<Snapshot> {
        let about: About = serde_json::from_str(self.text("about")?).ok()?;
        let state = operation_state(self.text("state")?)?;
        let steps = self
            .text("steps")?
            .split_ascii_whitespace()
            .map(|name| self.step(name))
            .collect::<Option<_>>()?;
        let cursor = Cursor { epoch: self.number::<Epoch>("epoch")?, seq: self.number("seq")? };
        Some(Snapshot {
            id: id.clone(),
            cursor: cursor.to_string(),
            state,
            percent: percent(self.number("share")?),
            title: about.title,
            project: about.project,
            correlation_id: about.correlation_id,
            message: self.text("message").and_then(|json| serde_json::from_str(json).ok()),
            data: self.text("data").and_then(|json| RawValue::from_string(json.to_owned()).ok()),
            steps,
            created_at: self.time("created")?,
            started_at: self.time("started"),
            updated_at: self.time("updated")?,
            ended_at: self.time("ended"),
            deadline: self.time("deadline").filter(|_| !state.is_final()),
        })
    }

    fn step(&self, name: &str) -> Option<Step> {
        let parts: Vec<&str> = self.text(&format!("step:{name}"))?.split(' ').collect();
        let [_, state, share, weight, current, total, started, ended] = parts[..] else { return None };
        Some(Step {
            name: name.parse().ok()?,
            state: step_state(state)?,
            percent: percent(share.parse().ok()?),
            weight: weight.parse().ok(),
            current: current.parse().ok(),
            total: total.parse().ok(),
            started_at: time(started),
            ended_at: time(ended),
        })
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    fn number<T: FromStr>(&self, field: &str) -> Option<T> {
        self.text(field)?.parse().ok()
    }

    fn time(&self, field: &str) -> Option<Timestamp> {
        time(self.text(field)?)
    }
}

pub(crate) fn operation_state(word: &str) -> Option<OperationState> {
    OperationState::ALL.into_iter().find(|state| state.as_str() == word)
}

pub(crate) fn step_state(word: &str) -> Option<StepState> {
    StepState::ALL.into_iter().find(|state| state.as_str() == word)
}

pub(crate) fn time(millis: &str) -> Option<Timestamp> {
    millis.parse().ok().map(Timestamp::from_millis)
}

//! Tasks as the world sees them: their id and their state. What may follow what is the queue engine's.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A task's id on the wire: `<number>-<salt>`, for example `17-9f3a0c2b`.
///
/// The number is the queue's own; the salt makes sure that an id never names another task, also when a failover
/// rolled the queue's counter back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// The queue's number of the task, from 1 on.
    pub number: u64,
    /// 32 random bits.
    pub salt: u32,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for TaskId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[1-9][0-9]*-[0-9a-f]{8}$"))
            .build()
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for TaskId {}

/// Text that is no task id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a task id: a number, a dash and eight hex digits, such as 17-9f3a0c2b")]
pub struct InvalidTaskId;

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.number, self.salt)
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        let (number, salt) = text.split_once('-').ok_or(InvalidTaskId)?;
        let canonical = number.bytes().all(|c| c.is_ascii_digit())
            && !number.starts_with('0')
            && salt.len() == 8
            && salt.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err(InvalidTaskId);
        }
        let number = number.parse().map_err(|_| InvalidTaskId)?;
        // Lua counts in doubles: a number from 2^53 on could never have been given.
        if number >= 1 << 53 {
            return Err(InvalidTaskId);
        }
        Ok(Self { number, salt: u32::from_str_radix(salt, 16).map_err(|_| InvalidTaskId)? })
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, InvalidTaskId> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> String {
        id.to_string()
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for its time.
    Scheduled,
    /// Waits for other tasks.
    Blocked,
    /// Waits for a worker.
    Ready,
    /// A worker has it.
    Leased,
    /// Waits for its backoff after a failure.
    Retrying,
    /// Done.
    Succeeded,
    /// A dead letter: it failed for good, and a person decides.
    Dead,
    /// Taken back, or expired before its start.
    Cancelled,
}

impl TaskState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Scheduled,
        Self::Blocked,
        Self::Ready,
        Self::Leased,
        Self::Retrying,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
    ];

    /// No worker will touch it any more, unless a person retries it by hand.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }

    /// The name on the wire and in Lua.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text_only() {
        let id = TaskId { number: 17, salt: 0x9f3a_0c2b };
        assert_eq!(id.to_string(), "17-9f3a0c2b");
        assert_eq!("17-9f3a0c2b".parse(), Ok(id));
        for wrong in [
            "",
            "17",
            "017-9f3a0c2b",
            "0-9f3a0c2b",
            "17-9F3A0C2B",
            "17-9f3a0c2",
            "17-9f3a0c2b0",
            "+1-9f3a0c2b",
            "9007199254740992-9f3a0c2b",
        ] {
            assert_eq!(wrong.parse::<TaskId>(), Err(InvalidTaskId), "{wrong:?}");
        }
    }
}

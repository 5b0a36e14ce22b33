//! Pages of tasks: which list, where one page ended, what it holds.

use crate::task::Task;
use std::fmt;
use std::str::FromStr;

/// Where the tasks of one state lie in order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// By when they are due.
    Scheduled,
    /// By when they are due.
    Retrying,
    /// By when their leases end.
    Leased,
    /// By when they died.
    Dead,
    /// Succeeded and cancelled ones whose outcomes are kept, by when those go.
    Done,
}

impl Shelf {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Retrying => "retrying",
            Self::Leased => "leased",
            Self::Dead => "dead",
            Self::Done => "done",
        }
    }
}

/// Where a page ended. Its text is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) score: String,
    pub(crate) member: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.score, self.member)
    }
}

/// Text that is no cursor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (score, member) = text.split_once('~').ok_or(InvalidCursor)?;
        let digits = |text: &str| (1..=16).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        if digits(score) && digits(member) {
            Ok(Self { score: score.to_owned(), member: member.to_owned() })
        } else {
            Err(InvalidCursor)
        }
    }
}

/// A page of tasks.
#[derive(Clone, Debug)]
pub struct Page {
    /// Without payloads, in order.
    pub tasks: Vec<Task>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

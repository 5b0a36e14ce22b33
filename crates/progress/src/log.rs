//! What Redis says about a log: a page of it, its end, or a message on its channel. Pure.

use crate::record::operation_state;
use crate::{Cursor, Epoch, ProgressError};
use redis_core::Reply;

/// The end of a log.
pub(crate) type Position = Cursor;

impl Position {
    /// Reads `epoch` and `seq` of a state hash.
    pub(crate) fn read(fields: Vec<Reply>) -> Result<Option<Self>, ProgressError> {
        match &fields[..] {
            [Reply::Nil, _] => Ok(None),
            [epoch, seq] => match (epoch.word().parse(), seq.word().parse()) {
                (Ok(epoch), Ok(seq)) => Ok(Some(Self { epoch, seq })),
                _ => Err(ProgressError::format("the operation")),
            },
            _ => Err(ProgressError::format("the operation")),
        }
    }
}

/// The last part of a log.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) end: Position,
    /// Whether the operation has ended.
    pub(crate) is_final: bool,
    /// The sequence of the first of `events`; one after the end when there are none.
    pub(crate) first: u64,
    pub(crate) events: Vec<String>,
}

impl Tail {
    /// Reads the answer of `events.lua`.
    pub(crate) fn read(parts: Vec<Reply>) -> Result<Option<Self>, ProgressError> {
        if parts.is_empty() {
            return Ok(None);
        }
        let mut parts = parts.into_iter();
        let mut head = || parts.next().and_then(|part| part.into_string().ok());
        let (Some(epoch), Some(seq), Some(_), Some(state)) = (head(), head(), head(), head()) else {
            return Err(ProgressError::format("the log"));
        };
        let events: Vec<String> = parts.map(Reply::into_string).collect::<Result<_, _>>()?;
        match (epoch.parse(), seq.parse::<u64>(), operation_state(&state)) {
            (Ok(epoch), Ok(seq), Some(state)) => {
                let first = (seq + 1).saturating_sub(events.len() as u64);
                Ok(Some(Self { end: Cursor { epoch, seq }, is_final: state.is_final(), first, events }))
            }
            _ => Err(ProgressError::format("the log")),
        }
    }
}

/// What the channel says: events `first` to `last` were written. The events themselves are in it unless too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notice<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) events: Vec<&'a str>,
}

impl<'a> Notice<'a> {
    /// Reads a message; none when it is in a format that this version does not know.
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
        let parts: Vec<&str> = head.split('\t').collect();
        let ["1", epoch, first, last] = parts[..] else { return None };
        let events = if rest.is_empty() { Vec::new() } else { rest.split('\n').collect() };
        Some(Self {
            epoch: epoch.parse().ok()?,
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_carries_its_events_or_only_their_numbers() {
        let epoch = "00000000000a".parse().unwrap();
        let notice = Notice::read(b"1\t00000000000a\t3\t4\nx\ty\nz").unwrap();
        assert_eq!(notice, Notice { epoch, first: 3, last: 4, events: vec!["x\ty", "z"] });
        assert!(Notice::read(b"1\t00000000000a\t3\t4").unwrap().events.is_empty());
        assert!(Notice::read(b"2\t00000000000a\t3\t4").is_none());
    }
}

//! Pages of a project's entries.

use crate::entry::Head;
use domain::{EntryName, Timestamp};
use redis_core::{RedisError, Reply};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One page of live entries, in the order in which they end.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries; fewer than asked for when some were evicted or invalidated, perhaps none.
    pub entries: Vec<Listed>,
    /// Where the next page begins; none after the last.
    pub next: Option<Cursor>,
    /// The index of names was not lost since the oldest live entry was put, so that no live entry can be missing.
    pub complete: bool,
}

/// One entry of a page.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: EntryName,
    /// All but its bytes.
    pub head: Head,
    /// How long it has to live.
    pub ttl: Duration,
}

/// A place in a listing, opaque to clients. It never grows old: it is a moment, not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

/// Text that is not a cursor of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that a listing gave out")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [CURSOR_VERSION; 9];
        bytes[1..].copy_from_slice(&self.0.to_be_bytes());
        data_encoding::BASE64URL_NOPAD.encode_display(&bytes).fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidCursor)?;
        let (&version, score) = bytes.split_first().ok_or(InvalidCursor)?;
        let score = u64::from_be_bytes(score.try_into().map_err(|_| InvalidCursor)?);
        // Exact as the double that a score is.
        if version == CURSOR_VERSION && score < 1 << 53 { Ok(Self(score)) } else { Err(InvalidCursor) }
    }
}

impl Cursor {
    /// The score after which to go on.
    pub(crate) fn score(self) -> u64 {
        self.0
    }
}

impl Page {
    pub(crate) fn parse(reply: Reply) -> Result<Self, RedisError> {
        let odd = |what: &str| RedisError::Protocol(format!("list.lua: {what}"));
        let mut parts = reply.into_array()?.into_iter();
        let mut next = || parts.next().ok_or_else(|| odd("too short"));
        let complete = next()?.word() == "complete";
        let now = Timestamp::from_millis(next()?.into_int()?);
        let last = next()?;
        let last =
            if last.word().is_empty() { None } else { Some(last.word().parse().map_err(|_| odd("score"))?) };
        let mut entries = Vec::new();
        while let Ok(name) = next() {
            let name = EntryName::try_from(name.into_string()?).map_err(|_| odd("name"))?;
            // One of a newer version is no entry for this one.
            if let Some(head) = Head::unpack(&next()?.into_bytes()?) {
                let ttl = head.ends().since(now);
                entries.push(Listed { name, head, ttl });
            }
        }
        Ok(Self { entries, next: last.map(Cursor), complete })
    }
}

const CURSOR_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_what_a_listing_gave_out() {
        let cursor = Cursor(1_764_038_911_120_000);
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "AQ", "next", "AP8AAAAAAAAA", "Af8AAAAAAAAA"] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad:?}");
        }
    }
}

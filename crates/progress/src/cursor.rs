//! Where a reader is: `<epoch>.<sequence>`, the event id on the wire.

use std::fmt;
use std::str::FromStr;

/// Which life of an operation: 48 random bits, drawn when it is created, so that a cursor of an earlier operation of
/// the same id is known for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    pub(crate) fn random() -> Self {
        Self(rand::random::<u64>() >> 16)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let canonical = text.len() == 12 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| canonical);
        number.map(Self).ok_or(InvalidCursor)
    }
}

/// The last event that a reader has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which life of the operation.
    pub epoch: Epoch,
    /// Which event of it; 0 is before the first.
    pub seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, seq) = text.split_once('.').ok_or(InvalidCursor)?;
        let digits = !seq.is_empty() && seq.bytes().all(|c| c.is_ascii_digit());
        let seq = seq.parse().ok().filter(|_| digits).ok_or(InvalidCursor)?;
        Ok(Self { epoch: epoch.parse()?, seq })
    }
}

/// Text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: 12 hex digits, a dot and a number, such as 4f0c1a9b2d3e.17")]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_has_one_text_only() {
        let text = "00ff1a9b2d3e.17";
        assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        for wrong in [
            "",
            "17",
            "00ff1a9b2d3e",
            "00ff1a9b2d3e.",
            "00FF1A9B2D3E.1",
            "0ff.1",
            "00ff1a9b2d3e.+1",
            "00ff1a9b2d3e.1.2",
        ] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong:?}");
        }
    }
}

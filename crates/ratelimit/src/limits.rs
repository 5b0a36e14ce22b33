//! How much a policy allows.

use std::time::Duration;

/// At most `limit` units in any closed window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Units, 1 to 1,000,000,000.
    pub limit: u32,
    /// 100 ms to 31 days, in whole milliseconds.
    pub length: Duration,
}

/// The windows of one policy, all of which have to have room: 1 to 4, of different lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    windows: Vec<Window>,
    packed: Vec<u8>,
}

/// Limits that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimits {
    /// None, or more than four windows.
    #[error("1 to 4 windows, and there are {0}")]
    Count(usize),
    /// A limit out of its range.
    #[error("a limit is 1 to 1,000,000,000, and one is {0}")]
    Limit(u32),
    /// A window out of its range, or not in whole milliseconds.
    #[error("a window is 100 ms to 31 days in whole milliseconds, and one is {0:?}")]
    Length(Duration),
    /// Two windows of one length: the smaller limit alone would say the same.
    #[error("two windows are {0:?} long")]
    Twice(Duration),
}

impl Limits {
    /// Checks the windows.
    ///
    /// # Errors
    /// [`InvalidLimits`] says which rule they break.
    pub fn new(windows: Vec<Window>) -> Result<Self, InvalidLimits> {
        if !(1..=MOST_WINDOWS).contains(&windows.len()) {
            return Err(InvalidLimits::Count(windows.len()));
        }
        let mut packed = Vec::with_capacity(windows.len() * 10);
        for (index, Window { limit, length }) in windows.iter().enumerate() {
            if !(1..=HIGHEST_LIMIT).contains(limit) {
                return Err(InvalidLimits::Limit(*limit));
            }
            if !(SHORTEST..=LONGEST).contains(length) || length.subsec_nanos() % 1_000_000 != 0 {
                return Err(InvalidLimits::Length(*length));
            }
            if windows[..index].iter().any(|other| other.length == *length) {
                return Err(InvalidLimits::Twice(*length));
            }
            packed.extend_from_slice(&limit.to_le_bytes());
            packed.extend_from_slice(&millis(*length).to_le_bytes()[..6]);
        }
        Ok(Self { windows, packed })
    }

    /// One window.
    ///
    /// # Errors
    /// As [`Limits::new`].
    pub fn one(limit: u32, length: Duration) -> Result<Self, InvalidLimits> {
        Self::new(vec![Window { limit, length }])
    }

    /// The windows, in the order in which they were given.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The longest of them.
    pub fn longest(&self) -> Duration {
        self.windows.iter().map(|window| window.length).max().unwrap_or_default()
    }

    /// The most that can ever pass at once.
    pub fn most_at_once(&self) -> u32 {
        self.windows.iter().map(|window| window.limit).min().unwrap_or_default()
    }

    /// `I4 limit, I6 length in ms` each, as `check.lua` reads it.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.packed
    }
}

/// Whole milliseconds; [`Limits`] holds nothing that is longer than 31 days.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// How many windows a policy may have.
pub(crate) const MOST_WINDOWS: usize = 4;
const HIGHEST_LIMIT: u32 = 1_000_000_000;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_their_rules_say() {
        let second = Duration::from_secs(1);
        let of = |windows: &[(u32, Duration)]| {
            Limits::new(
                windows.iter().map(|(limit, length)| Window { limit: *limit, length: *length }).collect(),
            )
            .map(drop)
        };
        assert_eq!(of(&[(1, second), (9, second * 60)]), Ok(()));
        for (windows, broken) in [
            (vec![], InvalidLimits::Count(0)),
            ((1..=5).map(|n| (n, second * n)).collect(), InvalidLimits::Count(5)),
            (vec![(0, second)], InvalidLimits::Limit(0)),
            (vec![(1_000_000_001, second)], InvalidLimits::Limit(1_000_000_001)),
            (vec![(1, Duration::from_millis(99))], InvalidLimits::Length(Duration::from_millis(99))),
            (vec![(1, LONGEST + second)], InvalidLimits::Length(LONGEST + second)),
            (
                vec![(1, Duration::from_micros(100_500))],
                InvalidLimits::Length(Duration::from_micros(100_500)),
            ),
            (vec![(1, second), (2, second)], InvalidLimits::Twice(second)),
        ] {
            assert_eq!(of(&windows), Err(broken));
        }
    }
}

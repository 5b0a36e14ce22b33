//! Time on the wire: RFC 3339, UTC, milliseconds. Nothing here reads a clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// A moment: milliseconds since the Unix epoch, between the years 1970 and 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build().into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Timestamp {}

/// Text that is no moment between 1970 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time: RFC 3339 between 1970 and 9999, such as 2026-11-25T02:48:31.123Z")]
pub struct InvalidTimestamp;

impl Timestamp {
    const LAST: i64 = 253_402_300_799_999;

    /// From milliseconds since the epoch; what lies outside 1970 to 9999 is moved to its edge.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::LAST))
    }

    /// Milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In range by construction; the epoch stands in for what cannot happen.
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{moment:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let millis = text.parse::<jiff::Timestamp>().map_err(|_| InvalidTimestamp)?.as_millisecond();
        if (0..=Self::LAST).contains(&millis) { Ok(Self(millis)) } else { Err(InvalidTimestamp) }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> String {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_rfc_3339_with_three_decimals() {
        let moment = Timestamp::from_millis(1_764_038_911_120);
        assert_eq!(moment.to_string(), "2025-11-25T02:48:31.120Z");
        assert_eq!("2025-11-25T03:48:31.12+01:00".parse(), Ok(moment));
        assert_eq!("tomorrow".parse::<Timestamp>(), Err(InvalidTimestamp));
        assert_eq!("1969-12-31T23:59:59Z".parse::<Timestamp>(), Err(InvalidTimestamp));
    }
}

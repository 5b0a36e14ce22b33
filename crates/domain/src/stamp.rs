//! Stamps and fencing tokens: `max(last + 1, TIME in µs)`, ordered, never given twice.
//!
//! Exact in Lua and JavaScript, as they stay below 2^53 until the year 2255. Source of fencing tokens: Kleppmann,
//! "How to do distributed locking" (2016).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Text that is not a number below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a stamp: a decimal number below 2^53")]
pub struct InvalidStamp;

macro_rules! stamp {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $type(u64);

        impl $type {
            /// The number.
            pub fn get(self) -> u64 {
                self.0
            }
        }

        impl TryFrom<u64> for $type {
            type Error = InvalidStamp;

            fn try_from(number: u64) -> Result<Self, InvalidStamp> {
                if number < 1 << 53 { Ok(Self(number)) } else { Err(InvalidStamp) }
            }
        }

        impl From<$type> for u64 {
            fn from(stamp: $type) -> u64 {
                stamp.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidStamp;

            fn from_str(text: &str) -> Result<Self, InvalidStamp> {
                // `u64::from_str` would also take a sign.
                let digits = text.bytes().all(|c| c.is_ascii_digit());
                let number = if digits { text.parse::<u64>().map_err(|_| InvalidStamp)? } else { return Err(InvalidStamp) };
                Self::try_from(number)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

stamp!(
    /// A moment of a project: of a write, or of an invalidation.
    Stamp
);
stamp!(
    /// Proof of the latest lease of a task: a later lease always has a greater one.
    FencingToken
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_a_plain_decimal_below_two_to_the_53() {
        for (text, valid) in [
            ("0", true),
            ("9007199254740991", true),
            ("9007199254740992", false),
            ("+1", false),
            ("", false),
            ("1.0", false),
        ] {
            assert_eq!(text.parse::<Stamp>().is_ok(), valid, "{text:?}");
        }
    }
}

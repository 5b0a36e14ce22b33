//! Names: text from outside, parsed once. None of them can hold a brace, a NUL or a blank, so each is safe in a
//! Redis key and a URL path (an [`EntryName`] only behind its project's hash tag, and percent-encoded).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A name that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What it should have been, for example `queue name`.
    pub what: &'static str,
    /// The rule, for a person.
    pub rule: &'static str,
}

/// Declares a name: one private field, the rule beside it, every way in checked.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $holds:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(description = $rule))]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                let holds: fn(&str) -> bool = $holds;
                if holds(&text) { Ok(Self(text)) } else { Err(InvalidName { what: $what, rule: $rule }) }
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A project: the owner of cache entries, and what scopes name.
    ProjectId, "project id", "1 to 64 of letters, digits, `_`, `-`, `.`", |text| plain(text, 64)
);
name!(
    /// A user of the team's own application, as its identity provider calls it: `auth0|1`, `someone@example.org`. What may
    /// not stand here is percent-encoded, as the gateway does with the user of a JWT: above all `+`, which joins scopes of
    /// limits, and `/`, which parts a path.
    UserId, "user id", "1 to 128 of letters, digits, `_`, `-`, `.`, `@`, `:`, `|`, `%`",
    |text| of(text, 128, b"_-.@:|%")
);
name!(
    /// A queue.
    QueueName, "queue name", "1 to 64 of `a-z`, `0-9`, `_`, `-`",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
);
name!(
    /// A lane of a queue: tasks of one concurrency key, in order among themselves.
    LaneName, "lane name", "1 to 64 of letters, digits, `_`, `-`, `.`", |text| plain(text, 64)
);
name!(
    /// A worker, as it names itself.
    WorkerName, "worker name", "1 to 128 of letters, digits, `_`, `-`, `.`, `:`", |text| of(text, 128, b"_-.:")
);
name!(
    /// A tag of cache entries.
    TagName, "tag", "1 to 64 of letters, digits, `_`, `-`, `.`, `:`", |text| of(text, 64, b"_-.:")
);
name!(
    /// A step of an operation.
    StepName, "step name", "1 to 64 of letters, digits, `_`, `-`, `.`", |text| plain(text, 64)
);
name!(
    /// An operation: its own id, or `<queue>.<task id>`, with `~<n>` behind it for a child.
    OperationId, "operation id", "1 to 128 of letters, digits, `_`, `-`, `.`, `~`", |text| of(text, 128, b"_-.~")
);
name!(
    /// What one request of a user is followed by, through all services.
    CorrelationId, "correlation id", "1 to 64 of letters, digits, `_`, `-`, `.`", |text| plain(text, 64)
);
name!(
    /// What makes a repeated enqueue answer with the first task.
    IdempotencyKey, "idempotency key", "1 to 128 visible ASCII characters",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic())
);
name!(
    /// A rate-limit policy.
    PolicyName, "policy name", "1 to 64 of letters, digits, `_`, `-`, `.`", |text| plain(text, 64)
);
name!(
    /// A cache entry's name inside its project. It may hold slashes and any script of the world.
    EntryName, "entry name", "1 to 256 bytes of UTF-8 without control characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

fn plain(text: &str, longest: usize) -> bool {
    of(text, longest, b"_-.")
}

fn of(text: &str, longest: usize, marks: &[u8]) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || marks.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_its_rule_says_and_nothing_else() {
        for (text, queue, project, entry) in [
            ("exports", true, true, true),
            ("", false, false, false),
            ("Exports", false, true, true),
            ("a b", false, false, true),
            ("{tag}", false, false, true),
            ("naïve/ß", false, false, true),
            ("nul\0", false, false, false),
            ("line\n", false, false, false),
        ] {
            assert_eq!(text.parse::<QueueName>().is_ok(), queue, "queue {text:?}");
            assert_eq!(text.parse::<ProjectId>().is_ok(), project, "project {text:?}");
            assert_eq!(text.parse::<EntryName>().is_ok(), entry, "entry {text:?}");
        }
    }

    #[test]
    fn a_user_is_a_text_without_what_keys_and_scopes_are_built_of() {
        for good in ["42", "auth0|1", "someone@example.org", "key:main", "some%2Bone"] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "{tag}", "a+b", "a/b", "a\r\nb", "na\u{ef}ve", "a,b", "a\"b"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_name_passes_and_one_byte_more_does_not() {
        for (longest, parse) in [
            (64, (|text: &str| text.parse::<QueueName>().is_ok()) as fn(&str) -> bool),
            (128, |text| text.parse::<OperationId>().is_ok()),
            (256, |text| text.parse::<EntryName>().is_ok()),
        ] {
            assert!(parse(&"a".repeat(longest)), "{longest}");
            assert!(!parse(&"a".repeat(longest + 1)), "{longest} + 1");
        }
    }

    #[test]
    fn json_with_a_bad_name_says_the_rule() {
        let error = serde_json::from_str::<QueueName>(r#""Nope!""#).unwrap_err().to_string();
        assert!(error.contains("not a valid queue name: 1 to 64 of"), "{error}");
    }
}

//! What cache-api and its clients send each other as JSON. Entries themselves travel as they are, with headers.

use crate::{EntryName, TagName};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// One page of a project's live entries, in the order in which they end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EntryPage {
    /// The entries; fewer than asked for, perhaps none, when some were evicted or invalidated.
    pub entries: Vec<Entry>,
    /// What `after` takes to go on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// No live entry can be missing. False when Redis lost the index of names while older entries may still live.
    pub complete: bool,
}

/// One entry of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    /// Its name.
    pub name: EntryName,
    /// Bytes of its payload.
    pub size_bytes: u64,
    /// How long it has to live.
    pub ttl_ms: u64,
    /// What the bytes are.
    pub content_type: String,
    /// What stands between the quotes of its `ETag`.
    pub etag: String,
    /// What it is invalidated with, besides its project.
    pub tags: Vec<TagName>,
}

/// `POST …/entries/batch`. First all are put, then all are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// What to put; each is put by itself, and all may be put again.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub put: Vec<BatchPut>,
    /// What to read.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub get: Vec<EntryName>,
}

/// One entry to put. Its bytes are `text` or `base64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BatchPut {
    /// Its name.
    pub name: EntryName,
    /// What the bytes are; `text/plain; charset=utf-8` or `application/octet-stream` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 255))]
    pub content_type: Option<String>,
    /// How long it lives; the service's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub ttl_ms: Option<u64>,
    /// What it is invalidated with, besides its project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub tags: Vec<TagName>,
    /// The bytes, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes, in base64 with padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// The answer to a batch, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchAnswer {
    /// What was put.
    pub put: Vec<Stored>,
    /// What was read.
    pub get: Vec<Found>,
}

/// An entry was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stored {
    /// Its name.
    pub name: EntryName,
    /// There was no live entry of that name before.
    pub created: bool,
    /// What `Sluice-Min-Stamp` takes.
    pub stamp: String,
    /// What stands between the quotes of its `ETag`.
    pub etag: String,
}

/// What a batch found under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Found {
    /// The name.
    pub name: EntryName,
    /// Whether there is an entry, and whether its bytes are here.
    pub outcome: Outcome,
    /// The bytes, where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64, where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// All else about the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<FoundEntry>,
}

/// Whether a batch has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is here.
    Hit,
    /// There is none.
    Miss,
    /// There is one, but it did not fit into the bytes of one answer: read it by itself.
    TooLarge,
}

/// All about an entry that a batch found, but its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundEntry {
    /// What the bytes are.
    pub content_type: String,
    /// Bytes of its payload.
    pub size_bytes: u64,
    /// How long ago it was put.
    pub age_ms: u64,
    /// How long it has to live.
    pub ttl_ms: u64,
    /// What `Sluice-Min-Stamp` takes.
    pub stamp: String,
    /// What stands between the quotes of its `ETag`.
    pub etag: String,
}

/// `POST …/invalidate`: `{}` is the whole project; else names or tags, not both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Invalidate {
    /// These entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub names: Option<Vec<EntryName>>,
    /// Every entry with one of these tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub tags: Option<Vec<TagName>>,
}

impl Serialize for Invalidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Only from an object: a derived struct also takes an array, and `[]` would be `{}`, the whole project.
impl<'de> Deserialize<'de> for Invalidate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Invalidate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Invalidate, A::Error> {
                // The derived one, which `remote` turned into an inherent function.
                Invalidate::deserialize(MapAccessDeserializer::new(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// An invalidation holds, for every read that begins from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invalidated {
    /// What `Sluice-Min-Stamp` takes.
    pub stamp: String,
    /// The whole project was: asked for, or because more tags were invalidated than are remembered.
    pub whole_project: bool,
}

/// Counts of one process since it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheStats {
    /// Reads that found a live entry.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Hits among all reads, 0 to 1; absent before the first read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_ratio: Option<f64>,
    /// The misses by reason.
    pub misses_by_reason: MissesByReason,
    /// Payload bytes that hits handed out.
    pub read_bytes: u64,
    /// Entries put.
    pub puts: u64,
    /// Payload bytes put.
    pub put_bytes: u64,
    /// Entries deleted by name.
    pub deletes: u64,
    /// Invalidations of a project or of tags.
    pub invalidations: u64,
    /// Writes that a condition refused.
    pub refused: u64,
    /// Reads that were judged again because a write came in between.
    pub read_again: u64,
    /// Projects that began anew because Redis had lost a write that a reader knew of.
    pub recoveries: u64,
}

/// Misses by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MissesByReason {
    /// Never put, deleted, or evicted.
    pub absent: u64,
    /// Past its end.
    pub expired: u64,
    /// Its project or one of its tags was invalidated.
    pub invalidated: u64,
    /// The record of invalidations was lost.
    pub forgotten: u64,
    /// Written by a newer version, or torn.
    pub unreadable: u64,
    /// Redis is behind the stamp that the reader sent.
    pub behind: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_object_is_the_whole_project() {
        assert_eq!(serde_json::from_str::<Invalidate>("{}").unwrap(), Invalidate::default());
        for other in ["[]", "null", "[null, null]", "\"\"", "{\"all\":true}"] {
            assert!(serde_json::from_str::<Invalidate>(other).is_err(), "{other}");
        }
        let tags = Invalidate { tags: Some(vec!["t".parse().unwrap()]), names: None };
        let text = serde_json::to_string(&tags).unwrap();
        assert_eq!((&*text, serde_json::from_str(&text).unwrap()), (r#"{"tags":["t"]}"#, tags));
    }
}

//! Entries: what is put, what is read, and how an entry is packed into one value. Pure.
//!
//! ```text
//! offset  bytes  what
//!      0      1  version, 1; a reader refuses any other
//!      1      1  codec of the payload: 0 as it is (compression comes with a number of its own)
//!      2      8  stamp            \
//!     10      8  created, ms       | big endian, written by put.lua:
//!     18      8  soft end, ms      | only there stamp and time are known
//!     26      8  end, ms          /
//!     34      4  size of the payload as the user knows it, bytes
//!     38     16  entity tag
//!     54      2  length of all this, so where the payload begins
//!     56      1  number of tags; then each: length (1), text
//!             …  content type, up to the payload
//!             …  payload
//! ```
//! The tags come before the content type, because the scripts read no further than them. `scripts/entry.lua` is the
//! twin of this file; the tests of both meet in `tests/it`.

use crate::EntityTag;
use bytes::{BufMut, Bytes, BytesMut};
use domain::{Stamp, TagName, Timestamp};
use std::fmt;
use std::time::Duration;

/// What a caller wants to put.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What the bytes are.
    pub content_type: ContentType,
    /// What it will be invalidated with, besides its project.
    pub tags: Tags,
    /// How long it lives, to the millisecond.
    pub ttl: Duration,
    /// The bytes.
    pub payload: Bytes,
}

/// The media type of an entry: 1 to 255 visible ASCII characters and blanks, as a header carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType(String);

/// Text that no `Content-Type` header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a content type: type/subtype in 3 to 255 visible ASCII characters and blanks")]
pub struct InvalidContentType;

impl ContentType {
    /// `application/octet-stream`: bytes of which nobody said more.
    pub fn octets() -> Self {
        Self("application/octet-stream".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContentType {
    type Error = InvalidContentType;

    fn try_from(text: String) -> Result<Self, InvalidContentType> {
        let visible = text.len() <= 255 && text.bytes().all(|c| (b' '..=b'~').contains(&c));
        let essence = text.split(';').next().unwrap_or_default().trim_end();
        let two_parts = essence.split('/').collect::<Vec<_>>();
        let token = |part: &&str| !part.is_empty() && !part.contains([' ', ',']);
        let ok = visible && two_parts.len() == 2 && two_parts.iter().all(token);
        if ok { Ok(Self(text)) } else { Err(InvalidContentType) }
    }
}

/// At most 16 different tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<TagName>);

/// More than 16 tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry may have at most {} tags", Tags::MOST)]
pub struct TooManyTags;

impl Tags {
    /// The most that an entry may have.
    pub const MOST: usize = 16;

    /// They are.
    pub fn as_slice(&self) -> &[TagName] {
        &self.0
    }
}

impl TryFrom<Vec<TagName>> for Tags {
    type Error = TooManyTags;

    /// Repeated tags count once.
    fn try_from(mut tags: Vec<TagName>) -> Result<Self, TooManyTags> {
        tags.sort();
        tags.dedup();
        if tags.len() <= Self::MOST { Ok(Self(tags)) } else { Err(TooManyTags) }
    }
}

impl Draft {
    /// The packed entry, stamp and times zero. Copies the payload once, behind its head.
    pub(crate) fn pack(&self) -> Packed {
        let etag = EntityTag::of(self.content_type.as_str(), &self.payload);
        let tags = self.tags.as_slice();
        let tag_bytes: usize = tags.iter().map(|tag| 1 + tag.as_str().len()).sum();
        let head_bytes = FIXED_BYTES + 1 + tag_bytes + self.content_type.0.len();
        let mut bytes = BytesMut::with_capacity(head_bytes + self.payload.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(CODEC_PLAIN);
        bytes.put_bytes(0, 32);
        bytes.put_u32(u32::try_from(self.payload.len()).expect("bounded far below 4 GiB by the limits"));
        bytes.put_slice(etag.as_bytes());
        bytes.put_u16(u16::try_from(head_bytes).expect("16 tags and a content type are below 2 KiB"));
        bytes.put_u8(u8::try_from(tags.len()).expect("at most 16"));
        for tag in tags {
            bytes.put_u8(u8::try_from(tag.as_str().len()).expect("at most 64"));
            bytes.put_slice(tag.as_str().as_bytes());
        }
        bytes.put_slice(self.content_type.0.as_bytes());
        bytes.put_slice(&self.payload);
        Packed { bytes: bytes.freeze(), etag }
    }
}

/// A draft on its way to Redis.
pub(crate) struct Packed {
    pub(crate) bytes: Bytes,
    pub(crate) etag: EntityTag,
}

/// All about a live entry but its payload. A view of the bytes that Redis sent; nothing is copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Head(Bytes);

impl Head {
    /// Takes a head, or the beginning of an entry. None when it is not of this version, or torn.
    pub(crate) fn unpack(bytes: &Bytes) -> Option<Self> {
        if bytes.len() <= FIXED_BYTES || bytes[0] != VERSION || bytes[1] != CODEC_PLAIN {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([bytes[54], bytes[55]]));
        if length <= FIXED_BYTES || length > bytes.len() {
            return None;
        }
        let head = Self(bytes.slice(..length));
        // Checked here, so that the getters need not.
        let sound =
            head.content_type_at().is_some() && std::str::from_utf8(&head.0[FIXED_BYTES + 1..]).is_ok();
        sound.then_some(head)
    }

    /// The stamp of its write.
    pub fn stamp(&self) -> Stamp {
        Stamp::try_from(self.number(2)).unwrap_or_default()
    }

    /// When it was put.
    pub fn created(&self) -> Timestamp {
        self.moment(10)
    }

    /// When it ends.
    pub fn ends(&self) -> Timestamp {
        self.moment(26)
    }

    /// Bytes of its payload.
    pub fn size_bytes(&self) -> usize {
        u32::from_be_bytes([self.0[34], self.0[35], self.0[36], self.0[37]]) as usize
    }

    /// Its entity tag.
    pub fn etag(&self) -> EntityTag {
        let mut tag = [0; 16];
        tag.copy_from_slice(&self.0[38..54]);
        EntityTag::from_bytes(tag)
    }

    /// Its tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let mut at = FIXED_BYTES + 1;
        (0..self.0[FIXED_BYTES]).map(move |_| {
            let from = at + 1;
            at = from + usize::from(self.0[at]);
            std::str::from_utf8(&self.0[from..at]).unwrap_or_default()
        })
    }

    /// What the bytes are.
    pub fn content_type(&self) -> &str {
        std::str::from_utf8(&self.0[self.content_type_at().unwrap_or(self.0.len())..]).unwrap_or_default()
    }

    /// [`Head::content_type`] as bytes that share the reply's memory.
    pub fn content_type_bytes(&self) -> Bytes {
        self.0.slice(self.content_type_at().unwrap_or(self.0.len())..)
    }

    pub(crate) fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Behind the tags. None when they do not end inside the head.
    fn content_type_at(&self) -> Option<usize> {
        let mut at = FIXED_BYTES + 1;
        for _ in 0..self.0[FIXED_BYTES] {
            at += 1 + usize::from(*self.0.get(at)?);
        }
        (at <= self.0.len()).then_some(at)
    }

    fn moment(&self, at: usize) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.number(at)).unwrap_or(i64::MAX))
    }

    fn number(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_be_bytes(bytes)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("stamp", &self.stamp())
            .field("created", &self.created())
            .field("ends", &self.ends())
            .field("size_bytes", &self.size_bytes())
            .field("etag", &self.etag())
            .field("content_type", &self.content_type())
            .field("tags", &self.tags().collect::<Vec<_>>())
            .finish()
    }
}

const VERSION: u8 = 1;
const CODEC_PLAIN: u8 = 0;
/// Up to the number of tags.
const FIXED_BYTES: usize = 56;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn draft(tags: &[&str], content_type: &str, payload: &'static [u8]) -> Draft {
        Draft {
            content_type: ContentType::try_from(content_type.to_owned()).unwrap(),
            tags: Tags::try_from(tags.iter().map(|tag| tag.parse().unwrap()).collect::<Vec<_>>()).unwrap(),
            ttl: Duration::from_secs(1),
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn a_head_tells_what_was_packed() {
        let packed = draft(&["b", "a", "b"], "text/plain; charset=utf-8", b"hello").pack();
        let head = Head::unpack(&packed.bytes).unwrap();

        assert_eq!(head.content_type(), "text/plain; charset=utf-8");
        assert_eq!(head.tags().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((head.size_bytes(), head.etag()), (5, packed.etag));
        assert_eq!(&packed.bytes[head.as_bytes().len()..], b"hello");
    }

    #[test]
    fn another_version_or_codec_is_refused() {
        let packed = draft(&[], "a/b", b"x").pack().bytes;
        for at in [0, 1] {
            let mut other = packed.to_vec();
            other[at] ^= 2;
            assert_eq!(Head::unpack(&other.into()), None, "byte {at}");
        }
    }

    #[test]
    fn a_head_that_says_it_is_shorter_than_any_or_longer_than_all_is_refused() {
        let packed = draft(&["t"], "a/b", b"x").pack().bytes;
        for length in [0, 1, 55, 56, u16::MAX] {
            let mut torn = packed.to_vec();
            torn[54..56].copy_from_slice(&length.to_be_bytes());
            assert_eq!(Head::unpack(&torn.into()), None, "{length}");
        }
    }

    #[test]
    fn a_content_type_is_one_that_a_header_carries() {
        for (text, valid) in [
            ("text/plain", true),
            ("text/html; charset=utf-8", true),
            ("application/vnd.acme+json;v=1", true),
            ("plain", false),
            ("", false),
            ("/", false),
            ("a/b/c", false),
            ("text/pla\nin", false),
            ("text/ü", false),
        ] {
            assert_eq!(ContentType::try_from(text.to_owned()).is_ok(), valid, "{text:?}");
        }
        assert!(ContentType::try_from(format!("a/{}", "b".repeat(254))).is_err());
    }

    proptest! {
        /// Whatever lies in Redis, a reader refuses it or shows it; it never panics.
        #[test]
        fn torn_or_foreign_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..90) {
            let mut real = draft(&["one", "two"], "text/plain", b"payload").pack().bytes.to_vec();
            real.truncate(cut);
            let _ = Head::unpack(&real.into());
            if let [version, codec, ..] = bytes.as_mut_slice() {
                (*version, *codec) = (VERSION, CODEC_PLAIN);
            }
            if let Some(head) = Head::unpack(&bytes.into()) {
                let _ = format!("{head:?}");
            }
        }
    }
}

//! What Redis must not read: sealed with a key of ours before it gets there.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha). The tag, the session's name, the id of the key and the absolute end are
//! authenticated with it: a seal opens only in its own session, and never for longer.

use crate::token::{SessionId, Tag};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use data_encoding::HEXLOWER_PERMISSIVE;
use domain::UserId;
use hmac::{Hmac, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;
use std::fmt;

/// The keys of an installation: one that names users, never changed, and those that seal.
pub struct SessionKeys {
    user: Zeroizing<[u8; 32]>,
    /// The newest first: it seals, all of them open.
    ring: Vec<(u32, XChaCha20Poly1305)>,
}

/// Keys that cannot be read. Says nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// Of the key that names users.
    #[error("the key of users is 64 hexadecimal digits")]
    User,
    /// Of one of the keys that seal.
    #[error("line {0} is not `<number> <64 hexadecimal digits>`")]
    Line(usize),
    /// Two keys of one id.
    #[error("line {0} repeats the number of another key")]
    Twice(usize),
    /// None at all.
    #[error("there is no key")]
    Empty,
}

impl SessionKeys {
    /// Reads them. `ring` has a line `<number> <64 hexadecimal digits>` for each key, the newest last; empty lines and
    /// those that begin with `#` are skipped.
    ///
    /// # Errors
    /// [`InvalidKeys`] says where.
    pub fn parse(user: &str, ring: &str) -> Result<Self, InvalidKeys> {
        let user = Zeroizing::new(key(user.trim()).ok_or(InvalidKeys::User)?);
        let mut keys: Vec<(u32, XChaCha20Poly1305)> = Vec::new();
        for (index, line) in ring.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed =
                line.split_once(' ').and_then(|(id, hex)| Some((id.parse().ok()?, key(hex.trim())?)));
            let (id, bytes) = parsed.ok_or(InvalidKeys::Line(index + 1))?;
            if keys.iter().any(|(other, _)| *other == id) {
                return Err(InvalidKeys::Twice(index + 1));
            }
            keys.insert(0, (id, cipher(&Zeroizing::new(bytes))));
        }
        if keys.is_empty() {
            return Err(InvalidKeys::Empty);
        }
        Ok(Self { user, ring: keys })
    }

    /// Keys of this process alone: its sessions are nobody else's, and end with it.
    pub fn random() -> Self {
        let bytes = Zeroizing::new(rand::random());
        Self { user: Zeroizing::new(rand::random()), ring: vec![(1, cipher(&bytes))] }
    }

    /// Which hash tag a user's sessions share.
    pub(crate) fn tag(&self, user: &UserId) -> Tag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.user).expect("any length is a key");
        mac.update(user.as_str().as_bytes());
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let (tag, _) = whole.split_first_chunk().expect("16 of 32 bytes");
        Tag(*tag)
    }

    /// Seals with the newest key.
    pub(crate) fn seal(&self, content: &[u8], tag: &Tag, id: &SessionId, ends_ms: u64) -> Vec<u8> {
        let (key_id, cipher) = &self.ring[0];
        let nonce: [u8; NONCE] = rand::random();
        let about = about(tag, id, *key_id, ends_ms);
        let payload = Payload { msg: content, aad: &about };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).expect("16 KiB are far below its bound");
        [&key_id.to_le_bytes()[..], &nonce, &sealed].concat()
    }

    /// Opens a seal; also tells whether an older key than the newest did. None when it is not ours.
    pub(crate) fn open(
        &self,
        sealed: &[u8],
        tag: &Tag,
        id: &SessionId,
        ends_ms: u64,
    ) -> Option<(Vec<u8>, bool)> {
        let (key_id, rest) = sealed.split_first_chunk::<4>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let key_id = u32::from_le_bytes(*key_id);
        let place = self.ring.iter().position(|(id, _)| *id == key_id)?;
        let about = about(tag, id, key_id, ends_ms);
        let content = self.ring[place].1.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &about });
        Some((content.ok()?, place > 0))
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.ring.iter().map(|(id, _)| id).collect();
        f.debug_struct("SessionKeys").field("ring", &ids).finish_non_exhaustive()
    }
}

fn about(tag: &Tag, id: &SessionId, key_id: u32, ends_ms: u64) -> Vec<u8> {
    let (key_id, ends) = (key_id.to_le_bytes(), ends_ms.to_le_bytes());
    [b"sluice session 1", &tag.0[..], id.as_str().as_bytes(), &key_id, &ends].concat()
}

fn cipher(bytes: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*bytes))
}

fn key(hex: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()
}

const NONCE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    const OLD: &str = "1 1111111111111111111111111111111111111111111111111111111111111111";
    const NEW: &str = "7 2222222222222222222222222222222222222222222222222222222222222222";

    fn keys(ring: &str) -> Result<SessionKeys, InvalidKeys> {
        SessionKeys::parse(&"ab".repeat(32), ring)
    }

    #[test]
    fn a_seal_opens_in_its_own_session_and_nowhere_else() {
        let keys = keys(OLD).unwrap();
        let (tag, id) = (Tag([7; 16]), Token::random(Tag([7; 16])).id());
        let sealed = keys.seal(b"content", &tag, &id, 1000);
        assert_eq!(keys.open(&sealed, &tag, &id, 1000), Some((b"content".to_vec(), false)));

        let other = Token::random(tag).id();
        assert_eq!(keys.open(&sealed, &Tag([8; 16]), &id, 1000), None);
        assert_eq!(keys.open(&sealed, &tag, &other, 1000), None);
        assert_eq!(keys.open(&sealed, &tag, &id, 1001), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(keys.open(&altered, &tag, &id, 1000), None, "byte {at}");
            assert_eq!(keys.open(&sealed[..at], &tag, &id, 1000), None, "cut at {at}");
        }
    }

    #[test]
    fn the_newest_key_seals_and_all_open() {
        let (old, both, new) =
            (keys(OLD).unwrap(), keys(&format!("{OLD}\n# now\n{NEW}\n")).unwrap(), keys(NEW).unwrap());
        let (tag, id) = (Tag([7; 16]), Token::random(Tag([7; 16])).id());
        let before = old.seal(b"x", &tag, &id, 1);
        let after = both.seal(b"x", &tag, &id, 1);
        assert_eq!(both.open(&before, &tag, &id, 1), Some((b"x".to_vec(), true)), "an old key");
        assert_eq!(new.open(&after, &tag, &id, 1), Some((b"x".to_vec(), false)));
        assert_eq!(new.open(&before, &tag, &id, 1), None, "a key that is gone");
    }

    #[test]
    fn wrong_keys_are_named_by_their_line_and_never_shown() {
        for (ring, wrong) in [
            ("", InvalidKeys::Empty),
            ("1 22", InvalidKeys::Line(1)),
            (&*format!("{OLD}\n\nx {}", &NEW[2..]), InvalidKeys::Line(3)),
            (&*format!("{OLD}\n{OLD}"), InvalidKeys::Twice(2)),
        ] {
            assert_eq!(keys(ring).map(drop), Err(wrong), "{ring}");
        }
        assert_eq!(SessionKeys::parse("abc", OLD).map(drop), Err(InvalidKeys::User));
        assert_eq!(format!("{:?}", keys(OLD).unwrap()), "SessionKeys { ring: [1], .. }");
    }

    #[test]
    fn a_user_has_one_tag_which_does_not_say_who() {
        let (one, other) = (keys(OLD).unwrap(), SessionKeys::random());
        let ada = "ada".parse().unwrap();
        assert!(one.tag(&ada) == keys(NEW).unwrap().tag(&ada), "whatever seals");
        assert!(one.tag(&ada) != other.tag(&ada));
        assert!(one.tag(&ada) != one.tag(&"bob".parse().unwrap()));
    }
}

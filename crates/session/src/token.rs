//! What a client holds, and what Redis knows of it.

use data_encoding::BASE64URL_NOPAD;
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Proof of a session, `<tag>.<secret>`: who it is about, and 256 random bits. Shown to its client once; its `Debug` says
/// nothing.
#[derive(Clone)]
pub struct Token {
    tag: Tag,
    secret: Zeroizing<[u8; 32]>,
}

/// Which user, without saying who: 128 bits of a keyed hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) [u8; 16]);

/// A session's name: the SHA-256 of its token's secret, as 43 letters. Opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// Not a token. Says no more: whoever guesses learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session token")]
pub struct InvalidToken;

/// Not the id of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session id: 43 letters, digits, `-`, `_`")]
pub struct InvalidSessionId;

impl Token {
    pub(crate) fn random(tag: Tag) -> Self {
        Self { tag, secret: Zeroizing::new(rand::random()) }
    }

    /// The text for the client.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.tag, BASE64URL_NOPAD.encode(&*self.secret))
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The name of its session.
    pub fn id(&self) -> SessionId {
        SessionId(BASE64URL_NOPAD.encode(&Sha256::digest(*self.secret)))
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (tag, secret) = text.split_once('.').ok_or(InvalidToken)?;
        Ok(Self { tag: Tag(bytes(tag)?), secret: Zeroizing::new(bytes(secret)?) })
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], InvalidToken> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidToken)?;
    bytes.try_into().map_err(|_| InvalidToken)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl SessionId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        let holds = bytes::<32>(text).is_ok();
        holds.then(|| Self(text.to_owned())).ok_or(InvalidSessionId)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_text_and_nothing_else_is_one() {
        let token = Token::random(Tag([7; 16]));
        let text = token.expose();
        assert_eq!(text.parse::<Token>().unwrap().id(), token.id());
        assert_eq!(text.len(), 22 + 1 + 43);
        for wrong in [
            "",
            ".",
            &text[1..],
            &text[..text.len() - 1],
            &text.replace('.', ""),
            &format!("{text}A"),
            &format!("{text}="),
            &format!(" {text}"),
            &format!("{}ü", &text[..text.len() - 2]),
        ] {
            assert_eq!(wrong.parse::<Token>().map(drop), Err(InvalidToken), "{wrong:?}");
        }
    }

    #[test]
    fn neither_debug_nor_the_id_tells_the_secret() {
        let token = Token::random(Tag([7; 16]));
        let text = token.expose();
        let secret = text.split_once('.').unwrap().1;
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_ne!(token.id().as_str(), secret);
        assert_eq!(token.id().as_str().parse(), Ok(token.id()));
    }
}

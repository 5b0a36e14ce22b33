//! JSON Web Tokens, signed by a key of a JWKS file.
//!
//! The key says which algorithm it is for, never the token: so a public RSA key is not taken for an HMAC secret, and `none`
//! is not a thing (RFC 8725, 3.1).

use super::{Identity, Wrong, text};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};

/// `[identity.jwt]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JwtEntry {
    /// Keys, RFC 7517; read again when it changes. Relative to the rules file.
    jwks_file: PathBuf,
    /// Who must have made a token; anybody if absent.
    issuer: Option<String>,
    /// Of these a token must be for one. Without any, tokens that are for somebody are refused.
    #[serde(default)]
    audience: Vec<String>,
    /// How far clocks may be apart.
    #[serde(default)]
    leeway_s: Leeway,
    #[serde(default = "sub")]
    user_claim: String,
    project_claim: Option<String>,
    tier_claim: Option<String>,
}

fn sub() -> String {
    "sub".to_owned()
}

/// Seconds: 0 to 120. It is how long an expired token still holds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
struct Leeway(u64);

impl TryFrom<u64> for Leeway {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        if seconds <= 120 { Ok(Self(seconds)) } else { Err("clocks are apart by 0 to 120 seconds") }
    }
}

impl Default for Leeway {
    fn default() -> Self {
        Self(5)
    }
}

/// Keys, and what a token has to say.
pub(crate) struct JwtRules {
    file: PathBuf,
    keys: Vec<Key>,
    /// Why others of the file are not among them.
    skipped: Vec<String>,
    validation: Validation,
    user_claim: String,
    project_claim: Option<String>,
    tier_claim: Option<String>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtEntry {
    pub(super) fn checked(self, folder: Option<&Path>) -> Result<JwtRules, String> {
        let file = folder.map_or_else(|| self.jwks_file.clone(), |folder| folder.join(&self.jwks_file));
        let (keys, skipped) = read(&file).map_err(|reason| format!("{}: {reason}", file.display()))?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = self.leeway_s.0;
        validation.validate_nbf = true;
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if !self.audience.is_empty() {
            validation.set_audience(&self.audience);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        Ok(JwtRules {
            file,
            keys,
            skipped,
            validation,
            user_claim: self.user_claim,
            project_claim: self.project_claim,
            tier_claim: self.tier_claim,
        })
    }
}

/// The keys of a file that can be used, and why others cannot: those are skipped (RFC 7517, 5), so that a provider may publish
/// a key of a new kind beside the old ones.
fn read(file: &Path) -> Result<(Vec<Key>, Vec<String>), String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let set: Set = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let (mut keys, mut skipped): (Vec<Key>, Vec<String>) = Default::default();
    for (place, value) in set.keys.into_iter().enumerate() {
        match usable(value) {
            Ok(key) if keys.iter().any(|other| other.id.is_some() && other.id == key.id) => {
                return Err(format!("key {place}: its kid is another's too"));
            }
            Ok(key) => keys.push(key),
            Err(reason) => skipped.push(format!("key {place}: {reason}")),
        }
    }
    match keys.len() {
        0 => Err(format!("no key that can be used; {}", skipped.join("; "))),
        2.. if keys.iter().any(|key| key.id.is_none()) => Err("of several keys each needs a kid".to_owned()),
        _ => Ok((keys, skipped)),
    }
}

fn usable(jwk: Value) -> Result<Key, &'static str> {
    // Its text may hold a secret, so the library's message is not repeated.
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| "not a JWK")?;
    if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
        return Err("it is for encryption");
    }
    let algorithm = algorithm_of(&jwk)?;
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "its parameters are not readable")?;
    Ok(Key { id: jwk.common.key_id, algorithm, key })
}

/// The one algorithm that a key is for.
fn algorithm_of(jwk: &Jwk) -> Result<Algorithm, &'static str> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(secret) => {
            // RFC 7518, 3.2: at least as long as the hash. Base64 has four letters for three bytes.
            if secret.value.trim_end_matches('=').len() < 43 {
                return Err("a secret has at least 32 bytes");
            }
            Algorithm::HS256
        }
        AlgorithmParameters::RSA(key) => {
            if key.n.trim_end_matches('=').len() < 342 {
                return Err("an RSA key has at least 2048 bits");
            }
            Algorithm::RS256
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return Err(UNSUPPORTED),
    };
    let named = match jwk.common.key_algorithm {
        None => return Ok(algorithm),
        Some(KeyAlgorithm::HS256) => Algorithm::HS256,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return Err(UNSUPPORTED),
    };
    if named == algorithm { Ok(algorithm) } else { Err(UNSUPPORTED) }
}

impl JwtRules {
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// For people: which keys there are, not what they are.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.keys
            .iter()
            .map(|key| format!("{} ({:?})", key.id.as_deref().unwrap_or("-"), key.algorithm))
            .collect()
    }

    /// Keys of the file that are not used, and why.
    pub(super) fn skipped(&self) -> impl Iterator<Item = String> {
        self.skipped.iter().map(|reason| format!("{}: skipped {reason}", self.file.display()))
    }

    pub(super) fn identify(&self, token: &str) -> Result<Identity, Wrong> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Wrong("the token is longer than 8192 bytes"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| Wrong("the token is not a JWT that can be checked"))?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: what is critical and not understood makes a token invalid.
            return Err(Wrong("the token needs extensions that are not known"));
        }
        let key = match (&header.kid, &self.keys[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), keys) => keys.iter().find(|key| key.id.as_ref() == Some(id)),
        };
        let key = key.ok_or(Wrong("the token is signed by a key that is not known"))?;
        if header.alg != key.algorithm {
            return Err(Wrong("the token's algorithm is not its key's"));
        }
        let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation);
        self.of_claims(&token.map_err(|error| wrong(error.kind()))?.claims)
    }

    fn of_claims(&self, claims: &Map<String, Value>) -> Result<Identity, Wrong> {
        // The library refuses a text and a list, and takes what is neither for absent.
        if self.validation.aud.is_none() && claims.get("aud").is_some_and(|aud| !aud.is_null()) {
            return Err(Wrong(OTHER_AUDIENCE));
        }
        let user = text(claims, Some(&self.user_claim))?;
        let user = user.ok_or(Wrong("the token does not say who its user is"))?;
        let user = utf8_percent_encode(&user, NO_USER_ID).to_string().try_into();
        let user = user.map_err(|_| Wrong("the token's user is empty, or over 128 characters"))?;
        let project = text(claims, self.project_claim.as_deref())?;
        let tier = text(claims, self.tier_claim.as_deref())?;
        Identity::of_token(user, project, tier)
    }
}

fn wrong(kind: &ErrorKind) -> Wrong {
    Wrong(match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::InvalidAudience => OTHER_AUDIENCE,
        ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss or aud",
        ErrorKind::InvalidSignature => "the token's signature does not hold",
        _ => "the token's claims are not what RFC 7519 says of them",
    })
}

impl fmt::Debug for JwtRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtRules")
            .field("file", &self.file)
            .field("keys", &self.key_ids())
            .finish_non_exhaustive()
    }
}

/// Of whatever a provider may call its users (RFC 7519 has any text), what a [`UserId`](domain::UserId) cannot hold is
/// percent-encoded, and so is the `%` itself: two users never become one, and nothing gets into a key or a field that could
/// end it.
const NO_USER_ID: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b'@').remove(b':').remove(b'|');
/// Real ones have one or two; each is hashed before it is known to be anybody's.
const TOKEN_BYTES_MAX: usize = 8192;
const OTHER_AUDIENCE: &str = "the token is for another audience";
const UNSUPPORTED: &str = "it is for none of HS256, RS256, ES256, EdDSA";

#[cfg(test)]
mod tests;

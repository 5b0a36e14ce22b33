//! A validation of one session. Opens no seal: it has no key, and answers with what Redis holds.

use std::sync::LazyLock;

use actix_web::error::{ErrorInternalServerError, ErrorUnauthorized};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::BASE64URL_NOPAD;
use fred::clients::Client;
use redis_core::{CLOCK_LUA, Script};
use sha2::{Digest, Sha256};

use super::{bytes, run};

const SESSION_LUA: &str = include_str!("../../../crates/session/src/scripts/session.lua");
static VALIDATE: LazyLock<Script> = LazyLock::new(|| {
    let body = include_str!("../../../crates/session/src/scripts/validate.lua");
    Script::new("validate", &[CLOCK_LUA, SESSION_LUA], body)
});

pub(super) async fn validate(redis: Data<Client>, request: HttpRequest) -> actix_web::Result<HttpResponse> {
    let none = || ErrorUnauthorized("no session");
    let token = request.headers().get("sluice-session").and_then(|token| token.to_str().ok());
    let (tag, secret) = token.and_then(|token| token.split_once('.')).ok_or_else(none)?;
    let secret = BASE64URL_NOPAD.decode(secret.as_bytes()).map_err(ErrorUnauthorized)?;
    let name = BASE64URL_NOPAD.encode(&Sha256::digest(secret));
    let keys = [format!("session:{{{tag}}}:{name}"), format!("session:{{{tag}}}:index")];

    let answer = run(&redis, &VALIDATE, keys, [name.into()]).await?;
    if bytes(answer.first())? == "gone" {
        return Err(none());
    }
    let value = bytes(answer.get(1))?;
    let seal = value.get(HEAD_BYTES..).ok_or_else(|| ErrorInternalServerError("too short a value"))?;
    Ok(HttpResponse::Ok().body(value.slice_ref(seal)))
}

/// What `session.lua` packs before the seal.
const HEAD_BYTES: usize = 29;

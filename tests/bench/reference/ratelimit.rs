//! A check of one policy with one window, of one user.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::error::{ErrorBadRequest, ErrorInternalServerError, ErrorTooManyRequests};
use actix_web::web::{Bytes, Data};
use fred::clients::Client;
use redis_core::{CLOCK_LUA, Script};
use serde::Deserialize;

use super::{bytes, run};

const RUNS_LUA: &str = include_str!("../../../crates/ratelimit/src/scripts/runs.lua");
static CHECK: LazyLock<Script> = LazyLock::new(|| {
    let body = include_str!("../../../crates/ratelimit/src/scripts/check.lua");
    Script::batched("check", 1, &[CLOCK_LUA, RUNS_LUA], body)
});

#[derive(Deserialize)]
struct Check<'a> {
    policy: &'a str,
    user: &'a str,
}

pub(super) async fn check(redis: Data<Client>, body: Bytes) -> actix_web::Result<HttpResponse> {
    let Check { policy, user } = serde_json::from_slice(&body).map_err(ErrorBadRequest)?;
    let mut item = [1, 0, 0, 0, ASKS, ONE, ENFORCED, ONE].to_vec();
    item.extend_from_slice(&LIMIT.to_le_bytes());
    item.extend_from_slice(&WINDOW_MS.to_le_bytes()[..6]);

    let answers =
        run(&redis, &CHECK, [format!("rl:{{user:{user}}}:{policy}")], [item.as_slice().into()]).await?;
    let answer = bytes(answers.first())?;
    let short = || ErrorInternalServerError("too short an answer");
    let number = |from: usize, length: usize| {
        let bytes = answer.get(from..from + length).ok_or_else(short)?;
        Ok::<u64, actix_web::Error>(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (used, room_ms, wait_ms) = (number(7, 4)?, number(11, 6)?, number(17, 6)?);
    if number(0, 1)? == 0 {
        return Err(ErrorTooManyRequests(wait_ms));
    }
    let remaining = u64::from(LIMIT).saturating_sub(used);
    let standing = format!(
        r#"{{"allowed":true,"policy":"{policy}","limit":{LIMIT},"remaining":{remaining},"reset_ms":{room_ms}}}"#
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(standing))
}

/// As `gateway.toml` has it; a bare handler knows no rules.
const LIMIT: u32 = 1_000_000;
const WINDOW_MS: u64 = 60_000;
const ASKS: u8 = 0;
const ONE: u8 = 1;
const ENFORCED: u8 = 0;

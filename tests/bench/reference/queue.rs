//! An enqueue of one task.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::error::{ErrorBadRequest, ErrorInternalServerError};
use actix_web::web::{Bytes, Data, Path};
use fred::clients::Client;
use fred::types::Value;
use rand::RngExt;
use redis_core::{CLOCK_LUA, Script};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{bytes, run};

const SHARED: [&str; 4] = [
    CLOCK_LUA,
    include_str!("../../../crates/queue/src/scripts/shared/names.lua"),
    include_str!("../../../crates/queue/src/scripts/shared/lanes.lua"),
    include_str!("../../../crates/queue/src/scripts/shared/admission.lua"),
];
static ENQUEUE: LazyLock<Script> = LazyLock::new(|| {
    let body = include_str!("../../../crates/queue/src/scripts/enqueue.lua");
    Script::new("enqueue", &SHARED, body)
});

#[derive(Deserialize)]
struct NewTask<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

pub(super) async fn enqueue(
    redis: Data<Client>,
    queue: Path<String>,
    body: Bytes,
) -> actix_web::Result<HttpResponse> {
    let task: NewTask<'_> = serde_json::from_slice(&body).map_err(ErrorBadRequest)?;
    let payload = task.payload.get().as_bytes();
    let salt: u32 = rand::rng().random();
    let head = [&[1, b'r', FLAGS, 0, PRIORITY][..], &salt.to_le_bytes()].concat();
    let rest = [&CORRELATION_AND_TRACE[..], payload].concat();
    let [none, bound] = [Value::from(""), Value::from(LEFT)];
    let item = [
        bound,
        none.clone(),
        none.clone(),
        none.clone(),
        none,
        head.as_slice().into(),
        rest.as_slice().into(),
    ];

    let answers = run(&redis, &ENQUEUE, [format!("queue:{{{queue}}}")], item).await?;
    let number = bytes(answers.first())?;
    let number = std::str::from_utf8(&number).map_err(ErrorInternalServerError)?;
    let id = format!(r#"{{"id":"{number}-{salt:08x}","repeated":false}}"#);
    Ok(HttpResponse::Created().content_type("application/json").body(id))
}

/// A record with correlation (16 bytes) and trace (25 bytes); what they say is no work of a bare handler.
const FLAGS: u8 = 4 + 8;
const CORRELATION_AND_TRACE: [u8; 41] = [7; 41];
const PRIORITY: u8 = 100;
/// Bytes that the queues may still take: no bound that is ever met.
const LEFT: &str = "1000000000000";

//! An update of one operation.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::error::{ErrorBadRequest, ErrorConflict};
use actix_web::web::{Bytes, Data, Path};
use fred::clients::Client;
use fred::types::Value;
use redis_core::{CLOCK_LUA, Script};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{bytes, run};

const STEPS_LUA: &str = include_str!("../../../crates/progress/src/scripts/steps.lua");
const LOG_LUA: &str = include_str!("../../../crates/progress/src/scripts/log.lua");
static UPDATE: LazyLock<Script> = LazyLock::new(|| {
    let body = include_str!("../../../crates/progress/src/scripts/update.lua");
    Script::new("update", &[CLOCK_LUA, STEPS_LUA, LOG_LUA], body)
});

#[derive(Deserialize)]
struct Update<'a> {
    step: &'a str,
    percent: f64,
    #[serde(borrow)]
    message: &'a RawValue,
}

pub(super) async fn update(
    redis: Data<Client>,
    id: Path<String>,
    body: Bytes,
) -> actix_web::Result<HttpResponse> {
    let Update { step, percent, message } = serde_json::from_slice(&body).map_err(ErrorBadRequest)?;
    let line = format!("{step}\tprogressed\t\t{:.0}\t\t\t{}\t\n", percent * 100.0, message.get());
    let keys = [format!("progress:{{{id}}}:state"), format!("progress:{{{id}}}:log")];
    let item = [Value::from(""), Value::from(RUNNING_MS), Value::from(line)];

    let answers = run(&redis, &UPDATE, keys, item).await?;
    let answer = match answers.into_iter().next() {
        Some(Value::Array(answer)) => answer,
        other => return Err(ErrorConflict(format!("{other:?}"))),
    };
    let part =
        |index: usize| bytes(answer.get(index)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if part(0)? != "ok" {
        return Err(ErrorConflict(part(0)?));
    }
    let percent = part(4)?.parse::<f64>().map_err(ErrorConflict)? / 100.0;
    let standing = format!(
        r#"{{"id":"{id}","cursor":"{}.{}","state":"{}","percent":{percent}}}"#,
        part(1)?,
        part(2)?,
        part(3)?
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(standing))
}

/// As the service: 24 hours.
const RUNNING_MS: &str = "86400000";

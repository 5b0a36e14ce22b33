//! A read of an entry.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::error::{ErrorInternalServerError, ErrorNotFound};
use actix_web::web::{Bytes, Data, Path};
use fred::clients::Client;
use fred::interfaces::KeysInterface;
use fred::types::Value;
use redis_core::{CLOCK_LUA, Script};

use super::{bytes, run};

const ENTRY_LUA: &str = include_str!("../../../crates/cache/src/scripts/entry.lua");
static READ: LazyLock<Script> = LazyLock::new(|| {
    let body = include_str!("../../../crates/cache/src/scripts/read.lua");
    Script::new("read", &[CLOCK_LUA, ENTRY_LUA], body)
});

pub(super) async fn get(
    redis: Data<Client>,
    path: Path<(String, String)>,
) -> actix_web::Result<HttpResponse> {
    let (project, name) = path.into_inner();
    let entry = format!("project:{{{project}}}:{name}");
    let keys = [format!("seq:{{{project}}}"), format!("gen:{{{project}}}"), entry.clone()];
    // The client's own GET, as only what it knows leaves in one write with what comes next.
    let whole = async { redis.get::<Bytes, _>(entry).await.map_err(ErrorInternalServerError) };
    let (whole, judged) =
        tokio::try_join!(whole, run(&redis, &READ, keys, [Value::from("0"), Value::from("0")]))?;
    let (word, head) = (bytes(judged.get(2))?, bytes(judged.get(3))?);
    if word != "live" {
        return Err(ErrorNotFound(format!("{word:?}")));
    }
    if !whole.starts_with(&head) {
        return Err(ErrorInternalServerError("written in between"));
    }
    Ok(HttpResponse::Ok().content_type("text/plain").body(whole.slice(head.len()..)))
}

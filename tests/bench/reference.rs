//! The bare reference: actix-web and fred, with nothing between.
//!
//! It runs the very scripts of the engines on the same arguments, parses the reply and answers. It checks nothing, knows
//! no key, no correlation, no deadline and no group commit. Each worker thread has a connection of its own, made on that
//! thread: the best arrangement that was measured (docs/performance.md). It never teaches Redis a script; the service
//! has done so before, so a script that differs by one byte ends the bench with NOSCRIPT.

mod cache;
mod progress;
mod queue;
mod ratelimit;
mod session;

use actix_web::error::ErrorInternalServerError;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::Context;
use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::config::{Config, TcpConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, RespVersion, Value};
use redis_core::Script;

/// Serves until it is killed. Takes its settings from the variables that a service takes them from.
pub(crate) fn serve() -> anyhow::Result<()> {
    let bind = setting("SLUICE__BARE__BIND")?;
    let workers = setting("SLUICE__HTTP__WORKERS")?.parse()?;
    let url = setting("SLUICE__REDIS__URL")?;
    actix_web::rt::System::new().block_on(async move {
        let app = move || {
            let url = url.clone();
            App::new()
                .data_factory(move || connect(url.clone()))
                .route("/health/ready", web::get().to(HttpResponse::Ok))
                .route("/v1/projects/{project}/entries/{name}", web::get().to(cache::get))
                .route("/v1/queues/{queue}/tasks", web::post().to(queue::enqueue))
                .route("/v1/operations/{id}/updates", web::post().to(progress::update))
                .route("/v1/sessions/current", web::get().to(session::validate))
                .route("/v1/ratelimit/check", web::post().to(ratelimit::check))
        };
        Ok(HttpServer::new(app).workers(workers).bind(bind)?.run().await?)
    })
}

fn setting(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| name.to_owned())
}

/// One connection, driven by the thread that asks for it.
async fn connect(url: String) -> Result<Client, fred::error::Error> {
    let mut config = Config::from_url(&url)?;
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
    });
    let client = builder.build()?;
    client.init().await?;
    Ok(client)
}

/// `EVALSHA` of one of our scripts, as redis-core calls it with Redis's own clock.
async fn run<const K: usize>(
    redis: &Data<Client>,
    script: &Script,
    keys: [String; K],
    args: impl IntoIterator<Item = Value>,
) -> actix_web::Result<Vec<Value>> {
    let mut all = vec![Value::from(script.sha()), Value::from(K as i64)];
    all.extend(keys.into_iter().map(Value::from));
    all.push(Value::from(""));
    all.extend(args);
    let command = CustomCommand::new_static("EVALSHA", ClusterHash::Random, false);
    match redis.custom(command, all).await.map_err(ErrorInternalServerError)? {
        Value::Array(parts) => Ok(parts),
        other => Err(ErrorInternalServerError(format!("{other:?}"))),
    }
}

fn bytes(value: Option<&Value>) -> actix_web::Result<Bytes> {
    match value {
        Some(Value::Bytes(bytes)) => Ok(bytes.clone()),
        Some(Value::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        other => Err(ErrorInternalServerError(format!("{other:?}"))),
    }
}

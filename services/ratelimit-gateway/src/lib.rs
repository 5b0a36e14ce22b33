#![doc = include_str!("../README.md")]

mod admin;
mod config;
mod door;
mod fields;
mod gate;
mod identity;
mod rules;

pub use config::{Config, GatewayConfig};
pub use door::DoorConfig;

use crate::admin::Admin;
use crate::gate::Gate;
use crate::identity::SessionCheck;
use crate::rules::Live;
use actix_web::web::Data;
use anyhow::Context;
use correlation::Recording;
use domain::Readiness;
use http_kit::{Authenticator, HopSink, Server};
use ratelimit::Limiter;
use redis_core::Redis;
use session::Sessions;
use std::net::TcpListener;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

/// Serves until `stop`: the public door, and behind another address what operators ask.
///
/// Redis may be away, at the start too: each route says what passes then.
///
/// # Errors
/// An address is taken, the rules are wrong, a secret cannot be read, or a server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (source, session_keys) = (config.rules(), config.session_keys()?);
    let (own, stop_delay) = (config.ratelimit_gateway, config.http.stop_delay());
    let redis = Redis::connect(&config.redis);
    redis.observe();
    let auth = Authenticator::new(&config.auth, own.admin_bind)
        .context("the API keys")?
        // The public door takes them from users, whatever operators need.
        .also_for_others();
    let rules = Live::open(source).context("the rules")?;
    let limiter = Limiter::new(redis.clone(), own.limiter());
    let sessions = session_keys.map(|keys| {
        SessionCheck::new(Sessions::new(redis.clone(), keys, config.session), own.check_timeout())
    });
    let recording = Recording::start(&redis, "ratelimit-gateway");
    let recorder = recording.recorder();
    let hops = HopSink::new(move |id, hop| recorder.record(id, hop));
    let gate = Arc::new(Gate::new(rules, limiter, auth.clone(), sessions, hops.clone()));

    let listener = TcpListener::bind(own.bind).with_context(|| format!("cannot listen on {}", own.bind))?;
    let api = Data::new(Admin::new(gate.clone(), auth.clone()));
    let admin = Server::bind("ratelimit-gateway", own.admin_bind, config.http, auth)?
        .backed_by(&redis)
        .hops(hops)
        // Also without Redis: what passes then is for the rules to say.
        .readiness(|| async { Readiness::Ready })
        .openapi(admin::ApiDocument::openapi());

    // One that breaks down takes the others with it.
    let all = stop.child_token();
    let public = async {
        let _stop = all.clone().drop_guard();
        let shut = CancellationToken::new();
        let delay = async {
            all.cancelled().await;
            // The door stands open while whoever asks the other address hears that it will shut.
            tokio::time::sleep(stop_delay).await;
            shut.cancel();
            std::future::pending().await
        };
        tokio::select! {
            served = door::serve(listener, gate.clone(), own.door.after(stop_delay), shut.clone()) => served,
            () = delay => Ok(()),
        }
    };
    let admin = async {
        let _stop = all.clone().drop_guard();
        admin
            .run(move |services| admin::configure(services, &api), all.clone())
            .await
            .context("the admin server")
    };
    let watch = async {
        let _stop = all.clone().drop_guard();
        gate.rules.watch(all.clone()).await.context("the watch over the rules")
    };
    let (public, admin, watch) = tokio::join!(public, admin, watch);
    recording.stop().await;
    redis.close().await;
    public.and(admin).and(watch)
}

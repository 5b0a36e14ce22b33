//! What the service says of itself, and where its further API keys come from.

use crate::keys;
use http_kit::{KeySourceError, Readiness};
use redis_core::Redis;
use serde_json::{Value, json};

/// Ready as long as Redis answers. At most one round trip a second.
pub(crate) async fn readiness(redis: Redis) -> Readiness {
    match redis.readiness().await {
        redis_core::Readiness::Ready { .. } => Readiness::Ready,
        redis_core::Readiness::NotReady { reason } => Readiness::NotReady(reason),
    }
}

/// `/health`, under `checks`.
pub(crate) async fn detail(redis: Redis, served: Vec<String>) -> Value {
    let redis = match redis.readiness().await {
        redis_core::Readiness::Ready { latency } => {
            json!({"ready": true, "latency_ms": latency.as_secs_f64() * 1e3})
        }
        redis_core::Readiness::NotReady { reason } => json!({"ready": false, "reason": reason}),
    };
    json!({"redis": redis, "serves": served})
}

/// The API keys that were made at run time. One round trip, O(keys).
pub(crate) async fn further_keys(redis: Redis) -> Result<Vec<String>, KeySourceError> {
    let records = redis.command("HVALS", &keys::api_keys(&redis), Vec::new()).await?.into_array()?;
    let records = records.into_iter().map(redis_core::Reply::into_string);
    Ok(records.collect::<Result<_, _>>()?)
}

//! `/v1/cache/stats`: what this process counted.

use crate::api::Api;
use actix_web::HttpResponse;
use actix_web::web::Data;
use domain::cache::{CacheStats, MissesByReason};
use http_kit::{Access, Action, Problem};

/// `GET /v1/cache/stats`: counts of this process since it began. No round trip.
#[utoipa::path(
    get, path = "/v1/cache/stats", tag = "operations", operation_id = "cache_stats",
    summary = "Counts of this process since it began; needs `ops:read`",
    responses((status = 200, description = "The counts", body = CacheStats)),
)]
pub(crate) async fn stats(access: Access, api: Data<Api>) -> Result<HttpResponse, Problem> {
    access.require(Action::OpsRead, "")?;
    let stats = api.cache.stats();
    let [absent, expired, invalidated, forgotten, unreadable, behind] = stats.misses;
    let misses = stats.misses.iter().sum::<u64>();
    let reads = stats.hits + misses;
    Ok(HttpResponse::Ok().json(CacheStats {
        hits: stats.hits,
        misses,
        hit_ratio: (reads > 0).then(|| stats.hits as f64 / reads as f64),
        misses_by_reason: MissesByReason { absent, expired, invalidated, forgotten, unreadable, behind },
        read_bytes: stats.read_bytes,
        puts: stats.puts,
        put_bytes: stats.put_bytes,
        deletes: stats.deletes,
        invalidations: stats.invalidations,
        refused: stats.refused,
        read_again: stats.read_again,
        recoveries: stats.recoveries,
    }))
}

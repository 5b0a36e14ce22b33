//! `/v1/projects/{project}/entries/batch`: many entries at once, as JSON.

use crate::api::{Api, MayEither};
use crate::routes::entries::millis;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use cache::{CacheError, Conditions, ContentType, Draft, Hit, Read, Tags};
use data_encoding::BASE64;
use domain::cache::{Batch, BatchAnswer, BatchPut, Found, FoundEntry, Outcome, Stored};
use domain::{EntryName, ErrorCode, ProjectId};
use futures_util::future::try_join_all;
use http_kit::{Action, Json, Problem};
use std::time::Duration;

/// `POST …/entries/batch`: puts, then reads. One round trip for the puts, one or two for the reads.
///
/// Each entry is put by itself; when one cannot be, the whole answer is that problem, and the batch may be sent again.
#[utoipa::path(
    post, path = "/v1/projects/{project}/entries/batch", tag = "entries", operation_id = "batch_entries",
    summary = "Put and read many entries",
    params(
        ("project" = ProjectId, Path,),
        ("Sluice-Min-Stamp" = Option<String>, Header, description = "Holds for the reads"),
    ),
    request_body = Batch,
    responses((status = 200, description = "All was done", body = BatchAnswer)),
)]
pub(crate) async fn batch(
    rights: MayEither,
    request: HttpRequest,
    body: Json<Batch>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let Batch { put, get } = body.into_inner();
    let writes = (!put.is_empty()).then_some(Action::CacheWrite);
    let reads = (!get.is_empty()).then_some(Action::CacheRead);
    let needed: Vec<Action> = writes.into_iter().chain(reads).collect();
    let project = rights.project_for(&needed)?;
    for (field, number) in [("/put", put.len()), ("/get", get.len())] {
        if number > MOST {
            return Err(Problem::field(field, format!("at most {MOST}")));
        }
    }
    let at_least = api.at_least(project, request.headers())?;
    let drafts: Result<Vec<_>, _> =
        put.into_iter().enumerate().map(|(at, put)| draft(&api, at, put)).collect();

    let put =
        try_join_all(drafts?.into_iter().map(|(name, draft)| store(&api, project, name, draft))).await?;
    let found = api.cache.read_many(project, &get, at_least, api.max_batch_bytes).await?;
    let get = get.into_iter().zip(found).map(|(name, found)| shown(&api, project, name, found)).collect();
    Ok(HttpResponse::Ok().json(BatchAnswer { put, get }))
}

async fn store(api: &Api, project: &ProjectId, name: EntryName, draft: Draft) -> Result<Stored, CacheError> {
    let written = Box::pin(api.cache.put(project, &name, draft, &Conditions::default())).await?;
    let stamp = api.seal.seal(project, written.stamp);
    Ok(Stored { name, created: written.created, stamp, etag: written.etag.to_string() })
}

fn draft(api: &Api, at: usize, put: BatchPut) -> Result<(EntryName, Draft), Problem> {
    let wrong = |field: &str, rule: String| Problem::field(format!("/put/{at}{field}"), rule);
    let (payload, usual_type) = match (put.text, put.base64) {
        (Some(text), None) => (text.into_bytes(), "text/plain; charset=utf-8"),
        (None, Some(base64)) => {
            let bytes =
                BASE64.decode(base64.as_bytes()).map_err(|error| wrong("/base64", error.to_string()))?;
            (bytes, "application/octet-stream")
        }
        _ => return Err(wrong("", "either `text` or `base64`".to_owned())),
    };
    if payload.len() > api.max_entry_bytes {
        let detail = format!("an entry may have at most {} bytes", api.max_entry_bytes);
        return Err(Problem::new(ErrorCode::TooLarge, "an entry is too large")
            .and_field(format!("/put/{at}"), detail));
    }
    let content_type = put.content_type.unwrap_or_else(|| usual_type.to_owned());
    let content_type =
        ContentType::try_from(content_type).map_err(|rule| wrong("/content_type", rule.to_string()))?;
    let tags = Tags::try_from(put.tags).map_err(|rule| wrong("/tags", rule.to_string()))?;
    let ttl = put.ttl_ms.map_or(api.default_ttl, Duration::from_millis);
    let max_ttl = api.cache.limits().max_ttl;
    if ttl.is_zero() || ttl > max_ttl {
        return Err(wrong("/ttl_ms", format!("1 to {}", max_ttl.as_millis())));
    }
    Ok((put.name, Draft { content_type, tags, ttl, payload: payload.into() }))
}

fn shown(api: &Api, project: &ProjectId, name: EntryName, found: cache::Found) -> Found {
    let (outcome, hit) = match found {
        cache::Found::Read(Read::Hit(hit)) => (Outcome::Hit, Some(hit)),
        cache::Found::Read(Read::Miss(_)) => (Outcome::Miss, None),
        cache::Found::TooMuch(hit) => (Outcome::TooLarge, Some(hit)),
    };
    let (mut text, mut base64) = (None, None);
    if let (Outcome::Hit, Some(hit)) = (outcome, &hit) {
        match std::str::from_utf8(&hit.payload) {
            Ok(utf8) => text = Some(utf8.to_owned()),
            Err(_) => base64 = Some(BASE64.encode(&hit.payload)),
        }
    }
    Found { name, outcome, text, base64, entry: hit.map(|hit| described(api, project, &hit)) }
}

fn described(api: &Api, project: &ProjectId, hit: &Hit) -> FoundEntry {
    FoundEntry {
        content_type: hit.head.content_type().to_owned(),
        size_bytes: hit.head.size_bytes() as u64,
        age_ms: millis(hit.age()),
        ttl_ms: millis(hit.ttl()),
        stamp: api.seal.seal(project, hit.head.stamp()),
        etag: hit.head.etag().to_string(),
    }
}

const MOST: usize = 100;

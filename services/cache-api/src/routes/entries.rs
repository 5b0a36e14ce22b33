//! `/v1/projects/{project}/entries/{name}`: one entry as it is; and the listing of all.

use crate::api::{Api, MayRead, MayWrite, SLUICE_CACHE, SLUICE_STAMP, SLUICE_TAGS, SLUICE_TTL};
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::Method;
use actix_web::http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue,
};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use cache::{ContentType, Cursor, Draft, EntityTag, Hit, Matching, Miss, Read, Tags};
use domain::cache::{Entry, EntryPage};
use domain::{EntryName, ErrorCode, ProjectId, Stamp, TagName};
use http_kit::{Body, Conditions, ETag, EntityTags, Path, Problem, Query, Verdict};
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The rest of the path.
#[derive(Deserialize)]
pub(crate) struct Named {
    name: EntryName,
}

/// `GET …/entries/{name}`: the bytes; 304 or 412 by condition; 404 when there is no live entry.
#[utoipa::path(
    get, path = "/v1/projects/{project}/entries/{name}", tag = "entries", operation_id = "read_entry",
    summary = "Read an entry",
    params(
        ("project" = ProjectId, Path,),
        ("name" = EntryName, Path, description = "The rest of the path, percent-decoded"),
        ("If-None-Match" = Option<String>, Header, description = "304 when the entry is one of these"),
        ("If-Match" = Option<String>, Header, description = "412 unless the entry is one of these"),
        ("Sluice-Min-Stamp" = Option<String>, Header,
            description = "A `Sluice-Stamp` of this project: no answer from before it"),
    ),
    responses(
        (status = 200, description = "The bytes, with the Content-Type that they were put with",
            content_type = "application/octet-stream", body = Vec<u8>,
            headers(
                ("ETag" = String), ("Age" = u64, description = "Seconds since it was put"),
                ("Cache-Control" = String, description = "`private, no-cache`: ask again, an invalidation may have come"),
                ("Sluice-TTL" = u64, description = "Seconds that it has to live"),
                ("Sluice-Stamp" = String), ("Sluice-Cache" = String, description = "`redis`, or `miss` on a 404"),
            )),
        (status = 304, description = "The client has it"),
        (status = 404, description = "There is no live entry; `Sluice-Cache: miss`",
            content_type = "application/problem+json", body = Object),
        (status = 412, description = "It is none of those in `If-Match`",
            content_type = "application/problem+json", body = Object),
    ),
)]
pub(crate) async fn get(
    MayRead(project): MayRead,
    path: Path<Named>,
    conditions: Conditions,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let at_least = api.at_least(&project, request.headers())?;
    let read = api.cache.read(&project, &path.name, at_least).await?;
    show(&api, &project, read, &conditions)
}

/// `HEAD …/entries/{name}`: as GET, without the bytes, which do not leave Redis either.
#[utoipa::path(
    head, path = "/v1/projects/{project}/entries/{name}", tag = "entries", operation_id = "read_entry_head",
    summary = "Read all about an entry but its bytes",
    params(
        ("project" = ProjectId, Path,),
        ("name" = EntryName, Path, description = "The rest of the path, percent-decoded"),
        ("Sluice-Min-Stamp" = Option<String>, Header),
    ),
    responses((status = 200, description = "As GET"), (status = 304, description = "As GET"), (status = 404, description = "As GET")),
)]
pub(crate) async fn head(
    MayRead(project): MayRead,
    path: Path<Named>,
    conditions: Conditions,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let at_least = api.at_least(&project, request.headers())?;
    let read = api.cache.read_head(&project, &path.name, at_least).await?;
    show(&api, &project, read, &conditions)
}

/// `PUT …/entries/{name}`: 201, or 204 when it replaced one; 412 by condition; 413 over the bound.
#[utoipa::path(
    put, path = "/v1/projects/{project}/entries/{name}", tag = "entries", operation_id = "put_entry",
    summary = "Put an entry",
    params(
        ("project" = ProjectId, Path,),
        ("name" = EntryName, Path, description = "The rest of the path, percent-decoded"),
        ("Sluice-TTL" = Option<u64>, Header, minimum = 1, description = "Seconds that it lives; 3600 when left out"),
        ("Sluice-Tags" = Option<String>, Header, description = "At most 16 tags, separated by commas"),
        ("If-Match" = Option<String>, Header, description = "412 unless the present entry is one of these"),
        ("If-None-Match" = Option<String>, Header, description = "412 when it is one of these; `*`: only if there is none"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream",
        description = "At most 8 MiB of any Content-Type, which is kept"),
    responses(
        (status = 201, description = "There was none", headers(("ETag" = String), ("Sluice-Stamp" = String))),
        (status = 204, description = "It replaced one", headers(("ETag" = String), ("Sluice-Stamp" = String))),
        (status = 412, description = "A condition did not hold; nothing was changed",
            content_type = "application/problem+json", body = Object),
    ),
)]
pub(crate) async fn put(
    MayWrite(project): MayWrite,
    path: Path<Named>,
    conditions: Conditions,
    request: HttpRequest,
    body: Body,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let draft = draft(&api, request.headers(), body)?;
    let written = api.cache.put(&project, &path.name, draft, &of_a_write(&conditions)).await?;
    let mut answer = if written.created { HttpResponse::Created() } else { HttpResponse::NoContent() };
    answer.insert_header((ETAG, quoted(written.etag)));
    Ok(stamped(&mut answer, &api, &project, written.stamp).finish())
}

/// `DELETE …/entries/{name}`: 204, also when there is none; 412 by condition.
#[utoipa::path(
    delete, path = "/v1/projects/{project}/entries/{name}", tag = "entries", operation_id = "delete_entry",
    summary = "Delete an entry",
    params(
        ("project" = ProjectId, Path,),
        ("name" = EntryName, Path, description = "The rest of the path, percent-decoded"),
        ("If-Match" = Option<String>, Header, description = "412 unless the present entry is one of these"),
        ("If-None-Match" = Option<String>, Header, description = "412 when it is one of these"),
    ),
    responses(
        (status = 204, description = "There is none of that name (any more)", headers(("Sluice-Stamp" = String))),
        (status = 412, description = "A condition did not hold; nothing was changed",
            content_type = "application/problem+json", body = Object),
    ),
)]
pub(crate) async fn delete(
    MayWrite(project): MayWrite,
    path: Path<Named>,
    conditions: Conditions,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let stamp = api.cache.delete(&project, &path.name, &of_a_write(&conditions)).await?;
    Ok(stamped(&mut HttpResponse::NoContent(), &api, &project, stamp).finish())
}

/// How to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    limit: Option<u16>,
    after: Option<String>,
}

/// `GET …/entries?limit=&after=`: a page of names, sizes and times to live.
#[utoipa::path(
    get, path = "/v1/projects/{project}/entries", tag = "entries", operation_id = "list_entries",
    summary = "List a project's live entries, soonest end first",
    params(
        ("project" = ProjectId, Path,),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 500, description = "Names to look at; 100 when left out"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = EntryPage)),
)]
pub(crate) async fn list(
    MayRead(project): MayRead,
    query: Query<Listing>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::field("limit", format!("1 to {LONGEST_PAGE}")));
    }
    let after = query.after.as_deref().map(str::parse::<Cursor>).transpose();
    let after = after.map_err(|invalid| Problem::field("after", invalid.to_string()))?;
    let page = api.cache.list(&project, after, limit.into()).await?;
    let entries = page.entries.into_iter().map(|listed| Entry {
        name: listed.name,
        size_bytes: listed.head.size_bytes() as u64,
        ttl_ms: millis(listed.ttl),
        content_type: listed.head.content_type().to_owned(),
        etag: listed.head.etag().to_string(),
        tags: listed.head.tags().filter_map(|tag| tag.parse().ok()).collect(),
    });
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(HttpResponse::Ok().json(EntryPage { entries: entries.collect(), next, complete: page.complete }))
}

/// The answer to a read.
fn show(
    api: &Api,
    project: &ProjectId,
    read: Read,
    conditions: &Conditions,
) -> Result<HttpResponse, Problem> {
    let hit = match read {
        Read::Hit(hit) => hit,
        Read::Miss(miss) => return Ok(missing(api, project, miss)),
    };
    if !conditions.is_empty() {
        let tag = ETag::strong(hit.head.etag().to_string()).expect("hexadecimal digits are a tag");
        match conditions.judge(&Method::GET, Some(&tag)) {
            Verdict::Proceed => {}
            Verdict::NotModified => {
                return Ok(described(&mut HttpResponse::NotModified(), api, project, &hit).finish());
            }
            Verdict::Failed => {
                let detail = "the entry is none of those that If-Match names";
                return Err(Problem::new(ErrorCode::PreconditionFailed, detail));
            }
        }
    }
    let content_type = HeaderValue::from_maybe_shared(hit.head.content_type_bytes());
    let mut answer = HttpResponse::Ok();
    described(&mut answer, api, project, &hit);
    answer.insert_header((CONTENT_TYPE, content_type.unwrap_or(OCTETS)));
    let size_bytes = hit.head.size_bytes();
    Ok(if hit.payload.len() == size_bytes {
        answer.body(hit.payload)
    } else {
        answer.body(LeftOut(size_bytes))
    })
}

/// The body that HEAD leaves out: its length alone.
struct LeftOut(usize);

impl MessageBody for LeftOut {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0 as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// What 200 and 304 have in common.
fn described<'a>(
    answer: &'a mut HttpResponseBuilder,
    api: &Api,
    project: &ProjectId,
    hit: &Hit,
) -> &'a mut HttpResponseBuilder {
    answer
        .insert_header((ETAG, quoted(hit.head.etag())))
        .insert_header((AGE, HeaderValue::from(hit.age().as_secs())))
        .insert_header((CACHE_CONTROL, ASK_AGAIN))
        .insert_header((SLUICE_TTL, HeaderValue::from(hit.ttl().as_secs())))
        .insert_header((SLUICE_CACHE, HeaderValue::from_static("redis")));
    stamped(answer, api, project, hit.head.stamp())
}

fn missing(api: &Api, project: &ProjectId, miss: Miss) -> HttpResponse {
    let mut answer = HttpResponse::from_error(Problem::new(ErrorCode::NotFound, "there is no such entry"));
    let headers = answer.headers_mut();
    headers.insert(SLUICE_CACHE, HeaderValue::from_static("miss"));
    if let Some(stamp) = miss.last_stamp {
        headers.insert(SLUICE_STAMP, stamp_header(api, project, stamp));
    }
    answer
}

/// What a PUT wants to put.
fn draft(api: &Api, headers: &HeaderMap, Body(payload): Body) -> Result<Draft, Problem> {
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::new(ErrorCode::MalformedRequest, "an entry is put as a whole")
            .and_field("Content-Range", "not taken here"));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Problem::new(
            ErrorCode::UnsupportedMediaType,
            "a Content-Encoding is not kept: put the plain bytes",
        )
        .and_field("Content-Encoding", "none, or `identity`"));
    }
    let content_type = match text(headers, &CONTENT_TYPE, "Content-Type")? {
        Some(text) => {
            ContentType::try_from(text).map_err(|rule| Problem::field("Content-Type", rule.to_string()))?
        }
        None => ContentType::octets(),
    };
    let ttl = match text(headers, &SLUICE_TTL, "Sluice-TTL")? {
        Some(text) if text.bytes().all(|c| c.is_ascii_digit()) => {
            Duration::from_secs(text.parse().map_err(|_| not_seconds())?)
        }
        Some(_) => return Err(not_seconds()),
        None => api.default_ttl,
    };
    let tags = text(headers, &SLUICE_TAGS, "Sluice-Tags")?.unwrap_or_default();
    let tags: Result<Vec<TagName>, _> =
        tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::parse).collect();
    let tags = tags.map_err(|rule| Problem::field("Sluice-Tags", rule.to_string()))?;
    let tags = Tags::try_from(tags).map_err(|rule| Problem::field("Sluice-Tags", rule.to_string()))?;
    Ok(Draft { content_type, tags, ttl, payload })
}

/// A header as text; sent more than once, it is a list (RFC 9110, section 5.3).
fn text(headers: &HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<String>, Problem> {
    let values: Result<Vec<_>, _> = headers.get_all(name).map(HeaderValue::to_str).collect();
    let values = values.map_err(|_| Problem::field(shown, "visible ASCII characters"))?;
    Ok(if values.is_empty() { None } else { Some(values.join(",")) })
}

fn not_seconds() -> Problem {
    Problem::field("Sluice-TTL", "whole seconds, at least 1")
}

/// Conditions as the engine judges them: by its own tags. One of another form names no entry that there can be.
fn of_a_write(conditions: &Conditions) -> cache::Conditions {
    let ours = |tag: &ETag| tag.opaque().parse::<EntityTag>().ok();
    let matching = |tags: &EntityTags, weak_counts: bool| match tags {
        EntityTags::Any => Matching::Any,
        EntityTags::OneOf(tags) => {
            let counts = |tag: &&ETag| weak_counts || !tag.is_weak();
            Matching::OneOf(tags.iter().filter(counts).filter_map(ours).collect())
        }
    };
    cache::Conditions {
        if_match: conditions.if_match.as_ref().map(|tags| matching(tags, false)),
        if_none_match: conditions.if_none_match.as_ref().map(|tags| matching(tags, true)),
    }
}

pub(super) fn stamped<'a>(
    answer: &'a mut HttpResponseBuilder,
    api: &Api,
    project: &ProjectId,
    stamp: Stamp,
) -> &'a mut HttpResponseBuilder {
    answer.insert_header((SLUICE_STAMP, stamp_header(api, project, stamp)))
}

fn stamp_header(api: &Api, project: &ProjectId, stamp: Stamp) -> HeaderValue {
    HeaderValue::try_from(api.seal.seal(project, stamp)).expect("digits and a dash")
}

fn quoted(tag: EntityTag) -> HeaderValue {
    HeaderValue::try_from(format!("\"{tag}\"")).expect("hexadecimal digits in quotes")
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const LONGEST_PAGE: u16 = 500;
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

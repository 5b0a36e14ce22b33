//! What the routes share: the engine, the seal, and the headers of this service.

use crate::Config;
use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};
use cache::{Cache, StampSeal};
use domain::{ProjectId, Stamp};
use http_kit::{Access, Action, Path, Problem};
use serde::Deserialize;
use session::Sessions;
use std::future::{Ready, ready};
use std::time::Duration;

/// What the routes share.
pub(crate) struct Api {
    pub(crate) cache: Cache,
    pub(crate) sessions: Sessions,
    pub(crate) seal: StampSeal,
    pub(crate) default_ttl: Duration,
    pub(crate) max_entry_bytes: usize,
    pub(crate) max_batch_bytes: usize,
    /// The body of a request about a session.
    pub(crate) max_session_bytes: usize,
}

pub(crate) const SLUICE_STAMP: HeaderName = HeaderName::from_static("sluice-stamp");
pub(crate) const SLUICE_MIN_STAMP: HeaderName = HeaderName::from_static("sluice-min-stamp");
pub(crate) const SLUICE_TTL: HeaderName = HeaderName::from_static("sluice-ttl");
pub(crate) const SLUICE_TAGS: HeaderName = HeaderName::from_static("sluice-tags");
pub(crate) const SLUICE_CACHE: HeaderName = HeaderName::from_static("sluice-cache");

impl Api {
    pub(crate) fn new(cache: Cache, sessions: Sessions, seal: StampSeal, config: &Config) -> Self {
        let max_session_bytes = config.session.max_attributes_bytes * 2 + 1024;
        let config = &config.cache_api;
        Self {
            cache,
            sessions,
            seal,
            default_ttl: Duration::from_secs(config.default_ttl_s),
            max_entry_bytes: config.max_entry_bytes,
            max_batch_bytes: config.max_batch_bytes,
            max_session_bytes,
        }
    }

    /// `Sluice-Min-Stamp`: the answer must not be from before this.
    pub(crate) fn at_least(
        &self,
        project: &ProjectId,
        headers: &HeaderMap,
    ) -> Result<Option<Stamp>, Problem> {
        let Some(text) = headers.get(SLUICE_MIN_STAMP) else { return Ok(None) };
        let opened = self.seal.open(project, text.to_str().unwrap_or_default());
        opened.map(Some).map_err(|forged| Problem::field("Sluice-Min-Stamp", forged.to_string()))
    }
}

/// A project that the key may read. First among a handler's arguments: nothing else is read for a stranger.
pub(crate) struct MayRead(pub(crate) ProjectId);

/// A project that the key may write to. As [`MayRead`].
pub(crate) struct MayWrite(pub(crate) ProjectId);

/// A project that the key may read, or write to, or both: what a request needs, its body decides. As [`MayRead`].
pub(crate) struct MayEither {
    access: Access,
    project: ProjectId,
}

impl MayEither {
    /// The project, when the key may do all of these.
    pub(crate) fn project_for(&self, actions: &[Action]) -> Result<&ProjectId, Problem> {
        actions.iter().try_for_each(|action| self.access.require(*action, self.project.as_str()))?;
        Ok(&self.project)
    }
}

#[derive(Deserialize)]
struct OfProject {
    project: ProjectId,
}

fn rights(request: &HttpRequest, payload: &mut Payload) -> Result<MayEither, Problem> {
    let access = Access::from_request(request, payload).into_inner()?;
    let Path(OfProject { project }) = Path::from_request(request, payload).into_inner()?;
    Ok(MayEither { access, project })
}

fn project(request: &HttpRequest, payload: &mut Payload, action: Action) -> Result<ProjectId, Problem> {
    let rights = rights(request, payload)?;
    rights.project_for(&[action])?;
    Ok(rights.project)
}

impl FromRequest for MayRead {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(project(request, payload, Action::CacheRead).map(Self))
    }
}

impl FromRequest for MayWrite {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(project(request, payload, Action::CacheWrite).map(Self))
    }
}

impl FromRequest for MayEither {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(rights(request, payload).and_then(|rights| {
            if !rights.access.may(Action::CacheWrite, rights.project.as_str()) {
                rights.project_for(&[Action::CacheRead])?;
            }
            Ok(rights)
        }))
    }
}

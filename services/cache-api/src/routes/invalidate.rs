//! `/v1/projects/{project}/invalidate`: make entries a miss, for everybody, at once.

use crate::api::{Api, MayWrite};
use crate::routes::entries::stamped;
use actix_web::HttpResponse;
use actix_web::web::Data;
use cache::Scope;
use domain::ProjectId;
use domain::cache::{Invalidate, Invalidated};
use http_kit::{Json, Problem};

/// `POST …/invalidate`: 200 once every read that begins from now on misses. O(1) for a project and a tag.
#[utoipa::path(
    post, path = "/v1/projects/{project}/invalidate", tag = "invalidation", operation_id = "invalidate",
    summary = "Invalidate a project (`{}`), names, or tags",
    params(("project" = ProjectId, Path,)),
    request_body = Invalidate,
    responses((status = 200, description = "It holds", body = Invalidated, headers(("Sluice-Stamp" = String)))),
)]
pub(crate) async fn invalidate(
    MayWrite(project): MayWrite,
    body: Json<Invalidate>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let invalidated = api.cache.invalidate(&project, &scope(body.into_inner())?).await?;
    let stamp = api.seal.seal(&project, invalidated.stamp);
    let mut answer = HttpResponse::Ok();
    stamped(&mut answer, &api, &project, invalidated.stamp);
    Ok(answer.json(Invalidated { stamp, whole_project: invalidated.whole_project }))
}

fn scope(body: Invalidate) -> Result<Scope, Problem> {
    let bounded = |field, number| match number {
        1..=MOST => Ok(()),
        _ => Err(Problem::field(field, format!("1 to {MOST}; leave it out for the whole project"))),
    };
    match body {
        Invalidate { names: None, tags: None } => Ok(Scope::Project),
        Invalidate { names: Some(names), tags: None } => {
            bounded("/names", names.len()).map(|()| Scope::Names(names))
        }
        Invalidate { names: None, tags: Some(tags) } => {
            bounded("/tags", tags.len()).map(|()| Scope::Tags(tags))
        }
        Invalidate { names: Some(_), tags: Some(_) } => {
            Err(Problem::field("/tags", "names or tags, not both"))
        }
    }
}

const MOST: usize = 1000;

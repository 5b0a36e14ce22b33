//! `/v1/queues`: what there is, and how deep.

use crate::app::App;
use crate::routes::tasks;
use crate::views;
use actix_web::HttpResponse;
use actix_web::web::Data;
use domain::{QueueName, queue as wire};
use futures_util::future::try_join_all;
use http_kit::{Access, Action, Path, Problem, Query};
use queue::Shelf;
use serde::Deserialize;

/// `GET /v1/queues`: those that the key may read. A round trip, and one for all their depths.
#[utoipa::path(
    get, path = "/v1/queues", tag = "queues", operation_id = "list_queues",
    summary = "The queues, with their depths",
    responses((status = 200, description = "Those that the key may read, by name", body = wire::Queues)),
)]
pub(crate) async fn list(access: Access, app: Data<App>) -> Result<HttpResponse, Problem> {
    let mut names = app.queues().list().await?;
    names.retain(|name| access.may(Action::QueueRead, name.as_str()));
    let queues = try_join_all(names.into_iter().map(|name| describe(&app, name))).await?;
    Ok(HttpResponse::Ok().json(wire::Queues { queues }))
}

/// `GET /v1/queues/{queue}`.
#[utoipa::path(
    get, path = "/v1/queues/{queue}", tag = "queues", operation_id = "show_queue",
    summary = "One queue, with its depth",
    params(("queue" = QueueName, Path)),
    responses(
        (status = 200, description = "The queue", body = wire::Queue),
        (status = 404, description = "No such queue"),
    ),
)]
pub(crate) async fn show(
    access: Access,
    Path(name): Path<QueueName>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueRead, name.as_str())?;
    app.existing(&name).await?;
    Ok(HttpResponse::Ok().json(describe(&app, name).await?))
}

/// `GET /v1/queues/{queue}/dead`: the dead letters, oldest first.
#[utoipa::path(
    get, path = "/v1/queues/{queue}/dead", tag = "queues", operation_id = "list_dead",
    summary = "The dead letters, oldest first, with their last errors",
    params(("queue" = QueueName, Path), PageQuery),
    responses(
        (status = 200, description = "A page of them", body = wire::TaskPage),
        (status = 404, description = "No such queue"),
    ),
)]
pub(crate) async fn dead(
    access: Access,
    Path(name): Path<QueueName>,
    Query(page): Query<PageQuery>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueRead, name.as_str())?;
    let PageQuery { after, limit } = page;
    tasks::page(&app, &name, Shelf::Dead, after.as_deref(), limit, |_| true).await
}

/// Which page of a list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `next` of the page before.
    after: Option<String>,
    /// How many tasks at most.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u16>,
}

async fn describe(app: &App, name: QueueName) -> Result<wire::Queue, Problem> {
    let stats = app.queue(&name).stats().await?;
    let executor = app.settings(&name).executor_of(&name);
    Ok(views::queue(name, executor, &stats))
}

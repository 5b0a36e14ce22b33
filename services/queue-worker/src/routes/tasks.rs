//! `/v1/queues/{queue}/tasks`: enqueue, look, wait, take back, try again.

use crate::app::App;
use crate::reporter::{Expected, operation_of};
use crate::routes::idempotency::Idempotency;
use crate::views;
use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use bytes::Bytes;
use domain::{CorrelationId, ErrorCode, LongPoll, QueueName, TaskId, TaskState, queue as wire};
use http_kit::{Access, Action, Correlation, Json, Path, Problem, Query, Touched, TraceParent};
use queue::{Backoff, EnqueueError, NewTask, OrderOnRetry, Shelf, Start, TaskError};
use serde::Deserialize;
use std::time::Duration;

/// `POST …/tasks`: 201 with the new task, 200 with the first one of the same key.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/tasks", tag = "tasks", operation_id = "enqueue",
    summary = "Enqueue a task; the first one makes the queue",
    params(("queue" = QueueName, Path), ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters")),
    request_body = wire::NewTask,
    responses(
        (status = 201, description = "Enqueued", body = wire::Enqueued, headers(("Location" = String))),
        (status = 200, description = "Enqueued before with this key", body = wire::Enqueued),
    ),
)]
pub(crate) async fn enqueue(
    access: Access,
    Path(name): Path<QueueName>,
    key: Idempotency,
    correlation: Correlation,
    trace: TraceParent,
    Json(task): Json<wire::NewTask>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueEnqueue, name.as_str())?;
    let origin = Origin { correlation: correlation.0, traceparent: trace.0 };
    let task = NewTask { idempotency_key: key.0, ..origin.task(&app, &name, task, "")? };
    let expected = Expected::of(&task);
    let is_seen = expected.is_some();
    let enqueued = app.queue(&name).enqueue(task).await.map_err(|error| refused(error, |_| String::new()))?;
    app.reporter().enqueued(&name, expected.map(|expected| (enqueued.id, expected))).await;
    let location = format!("/v1/queues/{name}/tasks/{}", enqueued.id);
    let touched = Touched {
        task_id: Some(enqueued.id),
        operation_id: is_seen.then(|| operation_of(&name, enqueued.id)),
        queue: Some(name),
    };
    let mut answer = if enqueued.repeated { HttpResponse::Ok() } else { HttpResponse::Created() };
    let mut answer = answer.insert_header((LOCATION, location)).json(on_wire(enqueued));
    answer.extensions_mut().insert(touched);
    Ok(answer)
}

/// `POST …/tasks/batch`: 201 when any of them is new, else 200.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/tasks/batch", tag = "tasks", operation_id = "enqueue_batch",
    summary = "Enqueue up to 1,000 tasks, all or none",
    params(("queue" = QueueName, Path), ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters")),
    request_body = wire::NewTasks,
    responses(
        (status = 201, description = "Enqueued", body = wire::EnqueuedAll),
        (status = 200, description = "All enqueued before with this key", body = wire::EnqueuedAll),
    ),
)]
pub(crate) async fn enqueue_batch(
    access: Access,
    Path(name): Path<QueueName>,
    key: Idempotency,
    correlation: Correlation,
    trace: TraceParent,
    Json(batch): Json<wire::NewTasks>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueEnqueue, name.as_str())?;
    if batch.tasks.is_empty() {
        return Err(Problem::field("/tasks", "at least one task"));
    }
    let origin = Origin { correlation: correlation.0, traceparent: trace.0 };
    let mut tasks = Vec::with_capacity(batch.tasks.len());
    for (index, task) in batch.tasks.into_iter().enumerate() {
        let task = origin.task(&app, &name, task, &format!("/tasks/{index}"))?;
        tasks.push(NewTask { idempotency_key: key.of_item(index)?, ..task });
    }
    let expected: Vec<_> = tasks.iter().map(Expected::of).collect();
    let enqueued = app.queue(&name).enqueue_all(tasks).await;
    let enqueued = enqueued.map_err(|error| refused(error, |index| format!("/tasks/{index}")))?;
    let seen = enqueued.iter().zip(expected).filter_map(|(task, expected)| Some((task.id, expected?)));
    app.reporter().enqueued(&name, seen).await;
    let all_repeated = enqueued.iter().all(|task| task.repeated);
    let mut answer = if all_repeated { HttpResponse::Ok() } else { HttpResponse::Created() };
    let mut answer = answer.json(wire::EnqueuedAll { tasks: enqueued.into_iter().map(on_wire).collect() });
    // One hop for all of them, which may be a thousand.
    answer.extensions_mut().insert(Touched { queue: Some(name), ..Touched::default() });
    Ok(answer)
}

/// `POST …/tasks/status`: many at once, without payloads and results.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/tasks/status", tag = "tasks", operation_id = "task_status",
    summary = "How up to 1,000 tasks stand",
    params(("queue" = QueueName, Path)),
    request_body = wire::TaskIds,
    responses(
        (status = 200, description = "Those that there are, and those that there are not", body = wire::Statuses),
        (status = 404, description = "No such queue"),
    ),
)]
pub(crate) async fn status(
    access: Access,
    Path(name): Path<QueueName>,
    Json(wire::TaskIds { ids }): Json<wire::TaskIds>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueRead, name.as_str())?;
    if !(1..=MOST_IDS).contains(&ids.len()) {
        return Err(Problem::field("/ids", format!("1 to {MOST_IDS} ids")));
    }
    let found = app.existing(&name).await?.get_many(&ids).await?;
    let mut statuses = wire::Statuses { tasks: Vec::new(), missing: Vec::new() };
    for (id, task) in ids.into_iter().zip(found) {
        match task {
            Some(task) => statuses.tasks.push(views::task(&name, task, None)),
            None => statuses.missing.push(id),
        }
    }
    Ok(HttpResponse::Ok().json(statuses))
}

/// `GET …/tasks?state=`: a page of those in one state.
#[utoipa::path(
    get, path = "/v1/queues/{queue}/tasks", tag = "tasks", operation_id = "list_tasks",
    summary = "The tasks of one state, in order of time",
    params(("queue" = QueueName, Path), ListQuery),
    responses(
        (status = 200, description = "A page of them", body = wire::TaskPage),
        (status = 404, description = "No such queue"),
    ),
)]
pub(crate) async fn list(
    access: Access,
    Path(name): Path<QueueName>,
    Query(query): Query<ListQuery>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueRead, name.as_str())?;
    let ListQuery { state, after, limit } = query;
    let (shelf, state) = state.shelf();
    page(&app, &name, shelf, after.as_deref(), limit, |task| task == state).await
}

/// `GET …/tasks/{id}`: with its payload while it waits, with its result once it is done. `?wait_ms=` waits for its end.
#[utoipa::path(
    get, path = "/v1/queues/{queue}/tasks/{id}", tag = "tasks", operation_id = "show_task",
    summary = "One task; with `wait_ms` answers at its end, or as it is then",
    params(("queue" = QueueName, Path), ("id" = TaskId, Path), WaitQuery),
    responses(
        (status = 200, description = "The task", body = wire::Task),
        (status = 404, description = "No such task, or no such queue"),
    ),
)]
pub(crate) async fn show(
    access: Access,
    Path((name, id)): Path<(QueueName, TaskId)>,
    Query(WaitQuery { wait_ms }): Query<WaitQuery>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueRead, name.as_str())?;
    let queue = app.existing(&name).await?;
    let wait = wait_ms.unwrap_or_default().duration();
    let (task, result) = tokio::select! { // Both may be dropped: they only read.
        found = queue.wait(id, wait) => found.map_err(|error| missing(error, id))?,
        () = app.stop().cancelled(), if !wait.is_zero() => queue.result(id).await?,
    };
    Ok(HttpResponse::Ok().json(views::task(&name, task, result.as_ref())))
}

/// `DELETE …/tasks/{id}`: 204; a worker that has it loses its lease at once.
#[utoipa::path(
    delete, path = "/v1/queues/{queue}/tasks/{id}", tag = "tasks", operation_id = "cancel_task",
    summary = "Take a task back",
    params(("queue" = QueueName, Path), ("id" = TaskId, Path)),
    responses(
        (status = 204, description = "Cancelled, now or before"),
        (status = 404, description = "No such task, or no such queue"),
        (status = 409, description = "It has ended"),
    ),
)]
pub(crate) async fn cancel(
    access: Access,
    Path((name, id)): Path<(QueueName, TaskId)>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueAdmin, name.as_str())?;
    let queue = app.existing(&name).await?;
    queue.cancel(id).await.map_err(|error| missing(error, id))?;
    // Only what was leased once, or wanted to be seen, can have an operation.
    if let Ok(task) = queue.get(id).await
        && (task.lease.is_some() || task.progress)
        && let Err(error) = app.reporter().cancelled(&name, id, task.lease.map(|holder| holder.token)).await
    {
        tracing::debug!(queue.name = %name, task.id = %id, error = %error, "the operation of task {id} still runs: {error}");
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `POST …/tasks/{id}/retry`: 204; a dead letter gets another life.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/tasks/{id}/retry", tag = "tasks", operation_id = "retry_task",
    summary = "Give a dead letter another life: its counts begin at zero",
    params(("queue" = QueueName, Path), ("id" = TaskId, Path)),
    responses(
        (status = 204, description = "It is ready again"),
        (status = 404, description = "No such task, or no such queue"),
        (status = 409, description = "It is not dead"),
    ),
)]
pub(crate) async fn retry(
    access: Access,
    Path((name, id)): Path<(QueueName, TaskId)>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueAdmin, name.as_str())?;
    app.existing(&name).await?.retry(id).await.map_err(|error| missing(error, id))?;
    Ok(HttpResponse::NoContent().finish())
}

/// Which tasks, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Ready and blocked tasks are only counted.
    #[param(inline)]
    state: ListedState,
    /// `next` of the page before.
    after: Option<String>,
    /// How many tasks at most; succeeded and cancelled ones share a list, so that a page of them may be short.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u16>,
}

/// A state that can be listed.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListedState {
    Scheduled,
    Leased,
    Retrying,
    Dead,
    Succeeded,
    Cancelled,
}

impl ListedState {
    fn shelf(self) -> (Shelf, TaskState) {
        match self {
            Self::Scheduled => (Shelf::Scheduled, TaskState::Scheduled),
            Self::Leased => (Shelf::Leased, TaskState::Leased),
            Self::Retrying => (Shelf::Retrying, TaskState::Retrying),
            Self::Dead => (Shelf::Dead, TaskState::Dead),
            Self::Succeeded => (Shelf::Done, TaskState::Succeeded),
            Self::Cancelled => (Shelf::Done, TaskState::Cancelled),
        }
    }
}

/// How long to wait for the end.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// Answer when the task ends, at the latest after so long; what is over 30,000 counts as 30,000.
    #[param(value_type = Option<u64>, default = 0)]
    wait_ms: Option<LongPoll>,
}

/// Where a request comes from: its tasks are followed by the same ids.
struct Origin {
    correlation: CorrelationId,
    traceparent: Option<String>,
}

impl Origin {
    /// The engine's task; what the request leaves open is as the queue's configuration says. `at` is where the task
    /// stands in the body.
    fn task(&self, app: &App, queue: &QueueName, task: wire::NewTask, at: &str) -> Result<NewTask, Problem> {
        let settings = app.settings(queue);
        let start = match (task.run_at, task.delay_ms) {
            (Some(_), Some(_)) => {
                return Err(Problem::field(format!("{at}/delay_ms"), "instead of run_at, not with it"));
            }
            (Some(moment), None) => Start::At(moment),
            (None, Some(delay)) => Start::After(Duration::from_millis(delay)),
            (None, None) => Start::Now,
        };
        let backoff = task.backoff.map(|wire::Backoff { base_ms, cap_ms }| Backoff {
            base: Duration::from_millis(base_ms),
            cap: Duration::from_millis(cap_ms),
        });
        let new = NewTask::new(views::bytes(task.payload));
        Ok(NewTask {
            priority: task.priority.unwrap_or(new.priority),
            lane: task.concurrency_key,
            start,
            expires_at: task.expires_at,
            max_attempts: task.max_attempts.unwrap_or(settings.max_attempts.get()),
            backoff: backoff.or_else(|| settings.backoff()),
            order_on_retry: match task.order_on_retry {
                Some(wire::OrderOnRetry::Tail) => OrderOnRetry::Tail,
                Some(wire::OrderOnRetry::Keep) | None => OrderOnRetry::Keep,
            },
            timeout: task.timeout_ms.map(Duration::from_millis),
            project: task.project,
            correlation: Some(self.correlation.clone()),
            traceparent: self.traceparent.clone(),
            progress: task.progress,
            ..new
        })
    }
}

/// A page of one shelf; `is_wanted` judges by state, for shelves that hold several.
pub(crate) async fn page(
    app: &App,
    name: &QueueName,
    shelf: Shelf,
    after: Option<&str>,
    limit: Option<u16>,
    is_wanted: impl Fn(TaskState) -> bool,
) -> Result<HttpResponse, Problem> {
    let limit = usize::from(limit.unwrap_or(USUAL_PAGE));
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::field("limit", format!("1 to {LONGEST_PAGE}")));
    }
    let after = after.map(str::parse::<queue::Cursor>).transpose();
    let after = after.map_err(|error| Problem::field("after", error.to_string()))?;
    let found = app.existing(name).await?.list(shelf, after.as_ref(), limit).await?;
    let wanted = found.tasks.into_iter().filter(|task| is_wanted(task.state));
    let tasks =
        wanted.map(|task| views::task(name, queue::Task { payload: Bytes::new(), ..task }, None)).collect();
    Ok(HttpResponse::Ok().json(wire::TaskPage { tasks, next: found.next.map(|next| next.to_string()) }))
}

/// Names the field where it stands in the body; `at` gives the place of a task.
fn refused(error: EnqueueError, at: impl Fn(usize) -> String) -> Problem {
    match error {
        EnqueueError::Invalid { index, field, detail } => {
            Problem::field(format!("{}/{field}", at(index)), detail)
        }
        other => other.into(),
    }
}

fn missing(error: TaskError, id: TaskId) -> Problem {
    match error {
        TaskError::NotFound => {
            Problem::new(ErrorCode::NotFound, format!("there is no task {id}, or no longer"))
        }
        other => other.into(),
    }
}

fn on_wire(enqueued: queue::Enqueued) -> wire::Enqueued {
    wire::Enqueued { id: enqueued.id, repeated: enqueued.repeated }
}

const MOST_IDS: usize = 1000;
const USUAL_PAGE: u16 = 50;
const LONGEST_PAGE: usize = 100;

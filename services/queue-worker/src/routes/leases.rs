//! `/v1/queues/{queue}/leases`: the API of workers that pull.
//!
//! Each write shows the task's id and the token of its lease. A body that is one object is answered by its status; in an
//! array each item has an answer of its own, and the call is 200.

use crate::app::App;
use crate::views;
use actix_web::HttpResponse;
use actix_web::web::Data;
use domain::queue::{self as wire, LeaseAnswer, OneOrMany};
use domain::{Coded, ErrorCode, FencingToken, FieldError, QueueName, TaskId, TaskState};
use futures_util::future::join_all;
use http_kit::{Access, Action, Json, Path, Problem};
use progress::ProgressError;
use queue::{
    End, Failure, LEASE_BOUNDS, Lease, LeaseRequest, Leased, LeasedBatch, Left, MAX_RESULT_BYTES, Queue,
    Settled, Settlement, Task, Then,
};
use std::time::Duration;

/// `POST …/leases`: up to `max` tasks, waiting for the first one if asked to.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/leases", tag = "leases", operation_id = "lease",
    summary = "Take tasks; with `wait_ms` waits for the first",
    params(("queue" = QueueName, Path)),
    request_body = wire::LeaseRequest,
    responses(
        (status = 200, description = "The tasks; none when there was no work in time", body = wire::LeasedTasks),
        (status = 404, description = "No such queue"),
    ),
)]
pub(crate) async fn lease(
    access: Access,
    Path(name): Path<QueueName>,
    Json(request): Json<wire::LeaseRequest>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueWork, name.as_str())?;
    let wait = request.wait_ms.unwrap_or_default().duration();
    let request = lease_request(&app, &name, request)?;
    let queue = app.existing(&name).await?;
    let leased = tokio::select! { // Dropped, by a stop or a client that hangs up, the engine's call gives back its tasks.
        leased = queue.lease_within(&request, wait) => leased?,
        () = app.stop().cancelled() => LeasedBatch::default(),
    };
    let offer = Offer::new(&app, &queue, &leased.tasks);
    announce(&app, &name, &leased.tasks).await;
    offer.taken();
    let tasks = leased.tasks.into_iter().map(views::leased).collect();
    Ok(HttpResponse::Ok().json(wire::LeasedTasks { tasks }))
}

/// `POST …/leases/ack`: 200, or 409 when the lease was lost.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/leases/ack", tag = "leases", operation_id = "ack",
    summary = "Tasks are done; safe to repeat",
    params(("queue" = QueueName, Path)),
    request_body = OneOrMany<wire::Ack>,
    responses(
        (status = 200, description = "Done; for an array each result says so or not", body = LeaseAnswer),
        (status = 404, description = "No such task, or no such queue"),
        (status = 409, description = "The lease was lost; nothing was changed"),
    ),
)]
pub(crate) async fn ack(
    access: Access,
    Path(name): Path<QueueName>,
    Json(acks): Json<OneOrMany<wire::Ack>>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueWork, name.as_str())?;
    let keep = app.settings(&name).keep();
    let ends = Items::of(acks)?.try_map(|ack, at| {
        let result = ack.result.map(views::bytes).unwrap_or_default();
        if result.len() > MAX_RESULT_BYTES {
            let problem =
                Problem::new(ErrorCode::TooLarge, format!("a result has at most {MAX_RESULT_BYTES} bytes"));
            return Err(problem.and_field(format!("{at}/result"), "is over its bound"));
        }
        Ok(Settlement { lease: lease_of(ack.id, ack.token), end: End::Ack { result, keep } })
    })?;
    settle(&app, &name, ends).await
}

/// `POST …/leases/nack`: 200, or 409 when the lease was lost.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/leases/nack", tag = "leases", operation_id = "nack",
    summary = "Tasks are not done: try again, bury, or give back; safe to repeat",
    params(("queue" = QueueName, Path)),
    request_body = OneOrMany<wire::Nack>,
    responses(
        (status = 200, description = "What became of it; for an array of each", body = LeaseAnswer),
        (status = 404, description = "No such task, or no such queue"),
        (status = 409, description = "The lease was lost; nothing was changed"),
    ),
)]
pub(crate) async fn nack(
    access: Access,
    Path(name): Path<QueueName>,
    Json(nacks): Json<OneOrMany<wire::Nack>>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueWork, name.as_str())?;
    let ends = Items::of(nacks)?.try_map(|nack, at| {
        Ok(Settlement { lease: lease_of(nack.id, nack.token), end: end_of(nack, at)? })
    })?;
    settle(&app, &name, ends).await
}

/// `POST …/leases/extend`: 200 with the new end, or 409 when the lease was lost.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/leases/extend", tag = "leases", operation_id = "extend",
    summary = "Keep tasks for longer: the worker lives",
    params(("queue" = QueueName, Path)),
    request_body = OneOrMany<wire::Extend>,
    responses(
        (status = 200, description = "The new end; for an array of each", body = LeaseAnswer),
        (status = 404, description = "No such task, or no such queue"),
        (status = 409, description = "The lease was lost: stop working on the task"),
    ),
)]
pub(crate) async fn extend(
    access: Access,
    Path(name): Path<QueueName>,
    Json(extensions): Json<OneOrMany<wire::Extend>>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueWork, name.as_str())?;
    let extensions = Items::of(extensions)?.try_map(|extend, at| {
        let by = lease_time(extend.lease_ms, app.settings(&name).lease(), at)?;
        Ok((lease_of(extend.id, extend.token), by))
    })?;
    let queue = app.existing(&name).await?;
    // Each by its own length; group commit makes a few calls of them.
    let extended = join_all(extensions.all.iter().map(|(lease, by)| queue.extend(lease, *by))).await;
    let answers = extensions.all.iter().zip(extended).map(|((lease, _), extended)| {
        let ends_at = extended.map_err(Problem::from)?;
        Ok(LeaseAnswer { lease_ends_at: Some(ends_at), state: Some(TaskState::Leased), ..blank(lease.task) })
    });
    let answers = answers.collect();
    extensions.answer(answers, |(lease, _)| lease.task)
}

/// `POST …/leases/progress`: 200, or 409 when the lease was lost.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/leases/progress", tag = "leases", operation_id = "report_progress",
    summary = "Tell how far tasks are; the first word makes a task an operation",
    params(("queue" = QueueName, Path)),
    request_body = OneOrMany<wire::Report>,
    responses(
        (status = 200, description = "Taken; for an array each result says so or not", body = LeaseAnswer),
        (status = 404, description = "No such task, or no such queue"),
        (status = 409, description = "The lease was lost; nothing was changed"),
    ),
)]
pub(crate) async fn progress(
    access: Access,
    Path(name): Path<QueueName>,
    Json(reports): Json<OneOrMany<wire::Report>>,
    app: Data<App>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::QueueWork, name.as_str())?;
    let reports = Items::of(reports)?;
    let queue = app.existing(&name).await?;
    let told = reports.all.iter().enumerate().map(|(index, report)| {
        let (app, name, queue, at) = (&app, &name, &queue, reports.pointer(index));
        async move {
            // Before the first word: whoever ends the task has to know that somebody watches.
            let task = queue.show(&lease_of(report.id, report.token)).await?;
            let told = app.reporter().update(name, &task, report.token, report.updates.clone()).await;
            told.map_err(|error| misreported(&error, &at))?;
            Ok(LeaseAnswer { state: Some(TaskState::Leased), ..blank(report.id) })
        }
    });
    let answers = join_all(told).await;
    reports.answer(answers, |report| report.id)
}

/// The items of a body.
struct Items<T> {
    single: bool,
    all: Vec<T>,
}

impl<T> Items<T> {
    fn of(body: OneOrMany<T>) -> Result<Self, Problem> {
        let items = match body {
            OneOrMany::One(item) => Self { single: true, all: vec![item] },
            OneOrMany::Many(all) => Self { single: false, all },
        };
        if !(1..=MOST_ITEMS).contains(&items.all.len()) {
            return Err(Problem::field("", format!("1 to {MOST_ITEMS} items")));
        }
        Ok(items)
    }

    /// Where an item stands in the body.
    fn pointer(&self, index: usize) -> String {
        if self.single { String::new() } else { format!("/{index}") }
    }

    /// Each item as something else; the first that breaks a rule refuses the call.
    fn try_map<U>(self, convert: impl Fn(T, &str) -> Result<U, Problem>) -> Result<Items<U>, Problem> {
        let pointers: Vec<_> = (0..self.all.len()).map(|index| self.pointer(index)).collect();
        let all = self
            .all
            .into_iter()
            .zip(&pointers)
            .map(|(item, at)| convert(item, at))
            .collect::<Result<_, _>>()?;
        Ok(Items { single: self.single, all })
    }

    /// One answer as the answer, several as a list in which a refusal stands beside its task.
    fn answer(
        &self,
        answers: Vec<Result<LeaseAnswer, Problem>>,
        task: impl Fn(&T) -> TaskId,
    ) -> Result<HttpResponse, Problem> {
        if self.single {
            let only = answers.into_iter().next().expect("as many answers as items")?;
            return Ok(HttpResponse::Ok().json(only));
        }
        let told = self.all.iter().zip(answers).map(|(item, answer)| {
            answer.unwrap_or_else(|problem| LeaseAnswer {
                problem: Some(problem.kind().to_owned()),
                detail: Some(problem.detail),
                ..blank(task(item))
            })
        });
        Ok(HttpResponse::Ok().json(wire::LeaseAnswers { results: told.collect() }))
    }
}

/// Ends leases, and tells those who watch.
async fn settle(app: &App, name: &QueueName, ends: Items<Settlement>) -> Result<HttpResponse, Problem> {
    let queue = app.existing(name).await?;
    let ids: Vec<_> = ends.all.iter().map(|end| end.lease.task).collect();
    // Together, in one write: which of them are watched is decided at their enqueue.
    let (settled, tasks) = tokio::join!(queue.settle(&ends.all), queue.get_many(&ids));
    let settled = settled?;
    let tasks = tasks.unwrap_or_default();
    join_all(ends.all.iter().zip(&settled).zip(&tasks).filter_map(|((end, settled), task)| {
        let (task, settled) = (task.as_ref().filter(|task| task.progress)?, settled.as_ref().ok()?);
        Some(tell_left(app, name, task, end, *settled))
    }))
    .await;
    let answers = ends.all.iter().zip(settled).map(|(end, settled)| {
        let state = match settled.map_err(Problem::from)? {
            Settled::Succeeded => TaskState::Succeeded,
            Settled::Retrying => TaskState::Retrying,
            Settled::Dead => TaskState::Dead,
            Settled::Ready => TaskState::Ready,
        };
        Ok(LeaseAnswer { state: Some(state), ..blank(end.lease.task) })
    });
    let answers = answers.collect();
    ends.answer(answers, |end| end.lease.task)
}

/// Tasks on their way to a worker. Dropped before they are taken, because the client hung up, they go back.
struct Offer<'a> {
    app: &'a App,
    queue: &'a Queue,
    leases: Vec<Lease>,
}

impl<'a> Offer<'a> {
    fn new(app: &'a App, queue: &'a Queue, tasks: &[Leased]) -> Self {
        Self { app, queue, leases: tasks.iter().map(|leased| leased.lease).collect() }
    }

    fn taken(mut self) {
        self.leases.clear();
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.app.give_back(self.queue.clone(), std::mem::take(&mut self.leases));
        }
    }
}

/// Before the worker begins: from here on a worker that had the task before cannot report any more.
async fn announce(app: &App, name: &QueueName, tasks: &[Leased]) {
    let watched = tasks.iter().filter(|leased| leased.task.progress);
    join_all(watched.map(|Leased { lease, task, .. }| async move {
        bounded(task.id, app.reporter().announce(name, task, lease.token)).await;
    }))
    .await;
}

async fn tell_left(app: &App, name: &QueueName, task: &Task, end: &Settlement, settled: Settled) {
    let message = match &end.end {
        End::Nack(failure) => failure.message.clone(),
        End::Ack { .. } | End::GiveBack => String::new(),
    };
    let left = match settled {
        Settled::Succeeded => Left::Succeeded,
        Settled::Retrying => Left::Retrying { message },
        Settled::Dead => Left::Dead { message },
        Settled::Ready => Left::Ready,
    };
    bounded(task.id, app.reporter().left(name, task, end.lease.token, left)).await;
}

/// Progress is a help: whatever becomes of it, the worker gets its answer.
async fn bounded(task: TaskId, telling: impl Future<Output = Result<(), ProgressError>>) {
    match tokio::time::timeout(REPORT_BOUND, telling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(task.id = %task, error = %error, "progress of task {task} is not shown: {error}");
        }
        Err(_) => tracing::debug!(task.id = %task, "progress of task {task} is not shown in time"),
    }
}

fn lease_request(app: &App, name: &QueueName, request: wire::LeaseRequest) -> Result<LeaseRequest, Problem> {
    let max = usize::from(request.max.unwrap_or(1));
    if !(1..=MOST_LEASED).contains(&max) {
        return Err(Problem::field("/max", format!("1 to {MOST_LEASED}")));
    }
    let lease = lease_time(request.lease_ms, app.settings(name).lease(), "")?;
    Ok(LeaseRequest { worker: request.worker, max, lease })
}

fn lease_time(lease_ms: Option<u64>, usual: Duration, at: &str) -> Result<Duration, Problem> {
    let lease = lease_ms.map_or(usual, Duration::from_millis);
    if LEASE_BOUNDS.contains(&lease) {
        return Ok(lease);
    }
    let (least, most) = (LEASE_BOUNDS.start().as_millis(), LEASE_BOUNDS.end().as_millis());
    Err(Problem::field(format!("{at}/lease_ms"), format!("from {least} to {most}")))
}

fn end_of(nack: wire::Nack, at: &str) -> Result<End, Problem> {
    let pause_at = format!("{at}/retry_after_ms");
    let then = match (nack.then, nack.retry_after_ms) {
        (wire::Then::Retry, None) => Then::Retry,
        (wire::Then::Retry, Some(pause)) if pause > LONGEST_PAUSE_MS => {
            return Err(Problem::field(pause_at, format!("at most {LONGEST_PAUSE_MS}")));
        }
        (wire::Then::Retry, Some(pause)) => Then::RetryAfter(Duration::from_millis(pause)),
        (_, Some(_)) => return Err(Problem::field(pause_at, "belongs to `retry`")),
        (wire::Then::Die, None) => Then::Die,
        (wire::Then::GiveBack, None) => return Ok(End::GiveBack),
    };
    let message = nack.error.unwrap_or_else(|| "the worker gave no reason".to_owned());
    Ok(End::Nack(Failure { message, then }))
}

/// The engine points into the updates; the client sent them inside of an item.
fn misreported(error: &ProgressError, at: &str) -> Problem {
    let errors = error.fields().into_iter();
    let errors =
        errors.map(|field| FieldError::new(format!("{at}/updates{}", field.pointer), field.detail)).collect();
    let mut problem = Problem::new(error.code(), error.to_string());
    (problem.errors, problem.retry_after) = (errors, error.retry_after());
    problem
}

fn lease_of(task: TaskId, token: FencingToken) -> Lease {
    Lease { task, token }
}

fn blank(id: TaskId) -> LeaseAnswer {
    LeaseAnswer { id, state: None, lease_ends_at: None, problem: None, detail: None }
}

const MOST_LEASED: usize = 64;
const MOST_ITEMS: usize = 1000;
const LONGEST_PAUSE_MS: u64 = 366 * 86_400_000;
const REPORT_BOUND: Duration = Duration::from_secs(5);

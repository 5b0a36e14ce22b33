//! The executor `push`: a task becomes a POST to the URL that the configuration names.

use crate::config::QueueConfig;
use crate::views;
use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use domain::{QueueName, Timestamp};
use http_kit::{ConfigError, read_secret_file};
use jiff::fmt::rfc2822;
use queue::{Context, Done, Failure, Handler, MAX_RESULT_BYTES, Queue};
use redis_core::Clock;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::ExposeSecret;
use serde_json::value::RawValue;
use std::path::Path;
use std::time::Duration;

/// Sends the tasks of one queue to one target.
pub(crate) struct Push {
    client: Client,
    target: Url,
    authorization: Option<HeaderValue>,
    queue: Queue,
    clock: Clock,
}

impl Push {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The queue has no target, or the file with its authorization cannot be read.
    pub(crate) fn new(queue: Queue, clock: Clock, settings: &QueueConfig) -> anyhow::Result<Self> {
        let target = settings.url.clone().context("a queue that pushes has a url")?.0;
        let file = settings.authorization_file.as_deref();
        let authorization = file.map(|file| authorization(queue.name(), file)).transpose()?;
        let client = Client::builder()
            // A target stands in the configuration; nobody else may name another one, a proxy included.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("sluice-queue-worker/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, target, authorization, queue, clock })
    }

    fn headers(&self, context: &Context) -> HeaderMap {
        let task = context.task();
        let text =
            |text: String| HeaderValue::try_from(text).expect("ids, names and numbers are visible ASCII");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("sluice-queue", text(context.queue().to_string()));
        headers.insert("sluice-task-id", text(task.id.to_string()));
        headers.insert("sluice-attempt", text(context.attempt().to_string()));
        headers.insert("sluice-token", text(context.token().to_string()));
        // The same for each attempt, so that a target that keeps these does the work once.
        headers.insert("idempotency-key", text(format!("{}.{}", context.queue(), task.id)));
        if let Some(correlation) = &task.correlation {
            headers.insert("x-correlation-id", text(correlation.to_string()));
        }
        // Of this attempt's span where traces are exported, else of the request that enqueued it.
        let trace = telemetry::current_trace().and_then(|trace| trace.traceparent());
        let trace = trace.or_else(|| task.traceparent.clone());
        if let Some(trace) = trace.and_then(|trace| HeaderValue::try_from(trace).ok()) {
            headers.insert("traceparent", trace);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }

    /// What an answer means for its task. See the table in docs/queue.md.
    async fn judge(&self, context: &Context, answer: Response) -> Result<Done, Failure> {
        let (status, id) = (answer.status(), context.task().id);
        tracing::debug!(task.id = %id, http.status = status.as_u16(), "the target answered task {id} with {status}");
        if status == StatusCode::ACCEPTED {
            // A whole lease from now on. Should that fail, there is still what is left of it.
            let _ = self.queue.extend(&context.lease(), context.lease_time()).await;
            return Ok(Done::Later);
        }
        if status.is_success() {
            let Body { bytes, complete } = read(answer, MAX_RESULT_BYTES).await?;
            let over = || Failure::die(format!("answered {status} with more than {MAX_RESULT_BYTES} bytes"));
            return if complete { Ok(Done::Result(bytes)) } else { Err(over()) };
        }
        let pause = pause(answer.headers(), self.clock.now());
        let said = read(answer, ERROR_BYTES).await.map(|body| body.bytes).unwrap_or_default();
        let message = format!("answered {status}: {}", String::from_utf8_lossy(&said));
        Err(match (may_pass(status), pause) {
            (true, Some(pause)) => Failure::retry_after(message, pause),
            (true, None) => Failure::retry(message),
            (false, _) => Failure::die(message),
        })
    }
}

impl Handler for Push {
    type Payload = Box<RawValue>;

    async fn handle(&self, payload: Box<RawValue>, context: Context) -> Result<Done, Failure> {
        let request = self.client.post(self.target.clone()).headers(self.headers(&context));
        // The URL is the configuration's business; whoever reads a task's errors need not know it.
        let answer = request.body(views::bytes(payload)).send().await.map_err(reqwest::Error::without_url)?;
        self.judge(&context, answer).await
    }
}

fn authorization(queue: &QueueName, file: &Path) -> Result<HeaderValue, ConfigError> {
    let key = format!("queue_worker.queues.{queue}.authorization_file");
    let secret = read_secret_file(&key, file)?;
    let mut value = HeaderValue::try_from(secret.expose_secret())
        .map_err(|_| ConfigError::value(key, "holds what no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether another attempt may find another answer. A redirect is none: the target would be another one.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

/// `Retry-After`, in seconds or as a date, as a pause of a day at most. A date counts from the answer's own `Date`, so
/// that no two clocks are compared.
fn pause(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let moment = |text: &str| {
        let moment = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(Timestamp::from_millis(moment.as_millisecond()))
    };
    let asked = text(RETRY_AFTER)?.trim();
    let pause = match asked.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => moment(asked)?.since(text(DATE).and_then(moment).unwrap_or(now)),
    };
    Some(pause.min(LONGEST_PAUSE))
}

struct Body {
    bytes: Bytes,
    /// False when it was cut.
    complete: bool,
}

async fn read(mut answer: Response, most: usize) -> Result<Body, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        let left = most - body.len();
        body.extend_from_slice(&piece[..piece.len().min(left)]);
        if piece.len() > left {
            return Ok(Body { bytes: body.freeze(), complete: false });
        }
    }
    Ok(Body { bytes: body.freeze(), complete: true })
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below what servers usually allow, so that a request seldom meets a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// As much of an error's body as is kept with the task.
const ERROR_BYTES: usize = 300;
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_refusals_are_worth_another_attempt() {
        for (status, passes) in [
            (301, false),
            (400, false),
            (404, false),
            (408, true),
            (409, true),
            (422, false),
            (425, true),
            (429, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(may_pass(StatusCode::from_u16(status).unwrap()), passes, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        for (asked, date, seconds) in [
            ("7", None, Some(7)),
            ("0", None, Some(0)),
            ("999999999", None, Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", None, Some(10)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some("Sun, 06 Nov 1994 08:49:45 GMT"), Some(2)),
            ("Sun, 06 Nov 1994 08:49:17 GMT", None, Some(0)),
            ("soon", None, None),
            ("-1", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(asked));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            assert_eq!(pause(&headers, now), seconds.map(Duration::from_secs), "{asked} {date:?}");
        }
        assert_eq!(pause(&HeaderMap::new(), now), None);
    }
}

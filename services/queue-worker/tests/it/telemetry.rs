//! A task as it is seen from outside: its span, its hops, its place in the log.

use crate::support::{SOON, Stage, Target};
use correlation::Correlations;
use serde_json::json;
use testkit::{CollectedSpan, Collector, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

async fn pushing_to(target: &Target, more: &[(&str, &str)]) -> Stage {
    let settings = [("QUEUES__MAIL__EXECUTOR", "push"), ("QUEUES__MAIL__URL", target.url.as_str())];
    Stage::with(&[&settings, more].concat()).await
}

async fn enqueue(stage: &Stage, flags: &str) -> String {
    let request = stage.api.post("/v1/queues/mail/tasks", &json!({"payload": 1, "progress": true}));
    let request = request.header("X-Correlation-ID", "order-7");
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-{flags}"));
    stage.api.json(request).await["id"].as_str().unwrap().to_owned()
}

fn kind<'a>(spans: &'a [CollectedSpan], kind: &str) -> Vec<&'a CollectedSpan> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[tokio::test]
async fn a_task_runs_in_a_trace_of_its_own_with_a_link_to_its_enqueue() {
    let (collector, target) = (Collector::start().await, Target::answering(&["200 OK"]).await);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint())];
    let mut stage = pushing_to(&target, &variables).await;
    let id = enqueue(&stage, "01").await;
    stage.ended("mail", &id).await;
    stage.service.stop().await;

    let spans = collector.spans();
    let enqueued = kind(&spans, "Server").into_iter().find(|span| span.trace_id == TRACE).unwrap();
    assert_eq!(enqueued.name, "POST /v1/queues/{queue}/tasks");
    let called = kind(&spans, "Client").into_iter().find(|span| span.name == "EVALSHA enqueue").unwrap();
    assert_eq!((&called.trace_id, &called.parent_id), (&enqueued.trace_id, &enqueued.span_id), "{called:?}");
    assert_eq!(called.attributes["db.stored_procedure.name"], "enqueue");
    let ran = kind(&spans, "Consumer");
    assert_eq!(ran.len(), 1, "{spans:?}");
    assert_eq!(ran[0].links, [(TRACE.to_owned(), enqueued.span_id.clone())], "{ran:?}");
    assert!(ran[0].trace_id != TRACE && ran[0].parent_id.is_empty(), "{ran:?}");
    assert_eq!((&*ran[0].name, &*ran[0].attributes["messaging.message.id"]), ("process mail", &*id));
    let sent_on = format!("00-{}-{}-01", ran[0].trace_id, ran[0].span_id);
    assert_eq!(target.seen()[0].header("traceparent"), Some(&*sent_on));
}

#[tokio::test]
async fn a_task_whose_enqueue_was_not_sampled_is_not_either() {
    let (collector, target) = (Collector::start().await, Target::answering(&["200 OK"]).await);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint())];
    let mut stage = pushing_to(&target, &variables).await;
    let id = enqueue(&stage, "00").await;
    stage.ended("mail", &id).await;
    stage.service.stop().await;

    assert_eq!(kind(&collector.spans(), "Consumer"), Vec::<&CollectedSpan>::new());
    assert!(target.seen()[0].header("traceparent").unwrap().ends_with("-00"));
}

#[tokio::test]
async fn a_correlation_shows_the_enqueue_and_each_attempt() {
    let target = Target::answering(&["500 No", "200 OK"]).await;
    let quick = [("QUEUES__MAIL__BACKOFF_BASE_MS", "1"), ("QUEUES__MAIL__BACKOFF_CAP_MS", "1")];
    let stage = pushing_to(&target, &quick).await;
    let id = enqueue(&stage, "00").await;
    stage.ended("mail", &id).await;

    let (correlations, order) = (Correlations::new(stage.handle()), "order-7".parse().unwrap());
    let look = async || correlations.read(&order).await.ok().filter(|trail| trail.hops.len() == 3);
    let trail = until(look, SOON).await;
    let seen: Vec<_> =
        trail.hops.iter().map(|hop| (&*hop.what, hop.outcome.as_deref().unwrap_or_default())).collect();
    let hops = [("POST /v1/queues/{queue}/tasks", "201"), ("attempt 1", "failed"), ("attempt 2", "done")];
    assert_eq!(seen, hops);
    assert!(trail.hops.iter().all(|hop| hop.task_id.is_some_and(|task| task.to_string() == id)), "{trail:?}");
    assert_eq!(trail.operations, [format!("mail.{id}").parse().unwrap()].into());
    assert_eq!(trail.trace_ids, [TRACE.to_owned()].into());
}

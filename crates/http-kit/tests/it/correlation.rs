//! `X-Correlation-ID` on every answer, `traceparent` passed on.

use crate::support::{Answer, start};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_valid_id_is_kept_on_answers_and_errors() {
    let service = start();
    for (path, status) in
        [("/v1/correlation", 200), ("/v1/nothing", 404), ("/v1/panic", 500), ("/health/live", 200)]
    {
        let request = service.client.get(service.url(path)).header("X-Correlation-ID", "order-17");
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.header("x-correlation-id")), (status, Some("order-17")), "{path}");
    }
}

#[tokio::test]
async fn an_invalid_id_is_replaced_by_a_uuid() {
    let service = start();
    for sent in ["two words", "", "{curly}", &"x".repeat(65)] {
        let request = service.client.get(service.url("/v1/correlation")).header("X-Correlation-ID", sent);
        let answer = Answer::of(request).await;
        let id = answer.header("x-correlation-id").unwrap();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{sent}: {id}");
        assert_eq!(answer.json()[0], id, "the handler sees the same");
    }
}

#[tokio::test]
async fn a_trace_parent_is_passed_on_only_when_valid() {
    let service = start();
    for (sent, passed) in [(TRACE, Some(TRACE)), ("00-nonsense", None)] {
        let request = service.client.get(service.url("/v1/correlation")).header("traceparent", sent);
        assert_eq!(Answer::of(request).await.json()[1].as_str(), passed, "{sent}");
    }
}

//! What a browser may make of an answer.

use crate::support::{Answer, start};

const ON_EVERY_ANSWER: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[tokio::test]
async fn no_answer_is_more_than_it_says() {
    let service = start();
    for (path, status) in [
        ("/v1/entries/acme/report", 200),
        ("/health/live", 200),
        ("/none", 404),
        ("/v1/queues/A", 422),
        ("/v1/own", 409),
        ("/v1/panic", 500),
        ("/v1/bare/503", 503),
        (&format!("/{}", "a".repeat(9000)), 414),
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        for (name, value) in ON_EVERY_ANSWER {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        assert_eq!(answer.header("strict-transport-security"), None, "not without TLS: {path}");
    }
}

#[tokio::test]
async fn a_page_says_itself_what_it_may_load_and_is_in_nobodys_frame() {
    let service = start();
    let policy = |answer: &Answer| {
        let policies: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "content-security-policy").collect();
        let [(_, policy)] = policies[..] else { panic!("{answer:?}") };
        policy.clone()
    };
    let policy = policy(&service.get("/docs").await);
    for part in
        ["default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("script-src"), "{policy}");
}

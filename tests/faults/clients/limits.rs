//! Runs into a limit that is closed while Redis is away, and into one that is open.

use super::Asking;
use crate::history::{Answer, Fact, Service};
use reqwest::RequestBuilder;
use testkit::Client;

pub(super) async fn run(mut asking: Asking, door: Client, number: u64) {
    let at = |host: &str, address: String| -> RequestBuilder {
        door.get("/health/live").header("Host", host).header("X-Forwarded-For", address)
    };
    while asking.goes_on().await {
        let closed = format!("192.0.2.{number}");
        let admitted = Fact::Admitted { key: closed.clone() };
        asking
            .ask(Service::Gateway, at("closed.test", closed), &[200, 429], |reply| {
                (reply.status == 200).then_some(admitted)
            })
            .await;

        let sent = asking.notes.begin.elapsed();
        let open = at("open.test", format!("198.51.100.{number}"));
        let answer = asking.ask(Service::Gateway, open, &[200, 429, 503], |_| None).await;
        if answer.is_some_and(|reply| reply.status == 503) {
            let what = "503 on a route that stays open".to_owned();
            asking.note(Service::Gateway, sent, Answer::Wrong { what }, None);
        }
    }
}

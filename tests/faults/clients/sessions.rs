//! Logs users in, and later asks who they are.

use super::Asking;
use crate::history::{Fact, Service};
use serde_json::json;
use testkit::Client;

pub(super) async fn run(mut asking: Asking, cache: Client, name: String) {
    let mut sessions: Vec<(usize, String)> = Vec::new();
    let first = usize::from(name.ends_with('1')) * 1_000_000;
    for session in first.. {
        if !asking.goes_on().await {
            return;
        }
        // A user of its own: nobody is logged out because of too many sessions.
        let login = cache.post("/v1/sessions", &json!({ "user_id": format!("{name}-{session}") }));
        let logged_in = Fact::LoggedIn { session };
        let reply = asking.ask(Service::CacheApi, login, &[201], |_| Some(logged_in)).await;
        let token = reply.and_then(|reply| reply.json()["token"].as_str().map(str::to_owned));
        sessions.extend(token.map(|token| (session, token)));

        let Some((session, token)) = sessions.get(session % sessions.len().max(1)) else { continue };
        let current = cache.get("/v1/sessions/current").header("Sluice-Session", token);
        asking
            .ask(Service::CacheApi, current, &[200, 401], |reply| {
                Some(Fact::Checked { session: *session, known: reply.status == 200 })
            })
            .await;
    }
}

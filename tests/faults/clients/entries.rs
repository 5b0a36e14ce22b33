//! Writes an entry again and again, and reads it.

use super::Asking;
use crate::history::{Fact, Service};
use testkit::Client;

pub(super) async fn run(mut asking: Asking, cache: Client, name: String) {
    let path = format!("/v1/projects/faults/entries/{name}");
    let mut version = 0;
    while asking.goes_on().await {
        version += 1;
        let put = cache.put(&path).body(version.to_string());
        let wrote = Fact::Wrote { name: name.clone(), version };
        asking.ask(Service::CacheApi, put, &[200, 201, 204], |_| Some(wrote)).await;

        let read = |version, stale| Fact::Read { name: name.clone(), version, stale };
        // An entry that is gone costs a miss, and breaks no promise.
        asking
            .ask(Service::CacheApi, cache.get(&path), &[200, 404], |reply| {
                let stale = reply.headers.get("sluice-cache").is_some_and(|from| from == "stale");
                reply.text().parse().ok().map(|version| read(version, stale))
            })
            .await;
    }
}

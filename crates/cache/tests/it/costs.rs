//! What an operation costs, counted on the wire.

use crate::support::{Project, cache_at, cache_on, draft, name, project, text_of};
use cache::{Cache, Conditions, Limits, Scope};
use redis_core::Clock;
use testkit::{Proxy, RedisServer};

/// A cache behind a counting proxy. Every script is known to the server, and the connection is made.
async fn counted() -> (RedisServer, Proxy, Project) {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let cache = cache_at(&proxy.url(), Clock::redis(), Limits::default());
    let acme = project(&cache, "acme");
    acme.put("warm", "1").await;
    acme.read("warm").await;
    cache.list(&acme.id, None, 1).await.unwrap();
    cache.invalidate(&acme.id, &Scope::Project).await.unwrap();
    cache.delete(&acme.id, &name("warm"), &Conditions::default()).await.unwrap();
    acme.put_tagged("data", &"x".repeat(1024), &["a", "b"], crate::support::HOUR).await;
    (server, proxy, acme)
}

#[tokio::test]
async fn a_read_is_one_round_trip_hit_or_miss() {
    let (_server, proxy, acme) = counted().await;
    for entry in ["data", "nope"] {
        for _ in 0..20 {
            let (_, trips) = proxy.round_trips_of(Box::pin(acme.read(entry))).await;
            assert_eq!(trips, 1, "{entry}");
        }
    }
    let (_, trips) = proxy.round_trips_of(acme.cache.read_head(&acme.id, &name("data"), None)).await;
    assert_eq!(trips, 1, "head");
}

#[tokio::test]
async fn every_write_is_one_round_trip_and_a_large_put_two() {
    let (_server, proxy, acme) = counted().await;
    let (cache, id, always) = (&acme.cache, &acme.id, Conditions::default());
    let data = name("data");

    let put = cache.put(id, &data, draft(vec![0; 128 * 1024], &["t"]), &always);
    assert_eq!(proxy.round_trips_of(put).await.1, 1, "put");
    let put = cache.put(id, &data, draft(vec![0; 128 * 1024 + 1], &["t"]), &always);
    assert_eq!(proxy.round_trips_of(put).await.1, 2, "large put");
    assert_eq!(proxy.round_trips_of(cache.delete(id, &data, &always)).await.1, 1, "delete");
    assert_eq!(proxy.round_trips_of(cache.invalidate(id, &Scope::Project)).await.1, 1, "invalidate");
    let names = Scope::Names(vec![name("a"), name("b")]);
    assert_eq!(proxy.round_trips_of(cache.invalidate(id, &names)).await.1, 1, "invalidate by name");
    assert_eq!(proxy.round_trips_of(cache.list(id, None, 100)).await.1, 1, "list");
}

#[tokio::test]
async fn a_read_of_many_small_entries_is_one_round_trip_and_large_ones_take_one_more() {
    let (_server, proxy, acme) = counted().await;
    let names: Vec<_> = (0..50).map(|i| name(&format!("n{i}"))).collect();
    for entry in &names {
        acme.put(entry.as_str(), &"x".repeat(1024)).await;
    }
    let read = acme.cache.read_many(&acme.id, &names, None, 1 << 20);
    assert_eq!(proxy.round_trips_of(read).await.1, 1);

    acme.put("n7", &"x".repeat(100_000)).await;
    let read = acme.cache.read_many(&acme.id, &names, None, 1 << 20);
    assert_eq!(proxy.round_trips_of(read).await.1, 2);
}

#[tokio::test]
async fn a_read_between_the_writes_of_others_is_never_torn() {
    let server = RedisServer::start().await;
    let (writer, clock) = cache_on(&server);
    let reader = cache_at(&server.url(), clock, Limits::default());
    let write = async |cache: &Cache| {
        let acme = project(cache, "acme");
        for round in 0..2000_usize {
            // The length is in the text, so that halves of two writes would be told.
            let length = 10 + round % 700;
            acme.put("data", &format!("{length:08}{}", "x".repeat(length - 8))).await;
        }
    };
    let read = async |cache: &Cache| {
        let acme = project(cache, "acme");
        for _ in 0..2000 {
            if let Ok(text) = text_of(acme.read("data").await) {
                assert_eq!(text[..8].parse::<usize>().unwrap(), text.len());
            }
        }
    };
    tokio::join!(write(&writer), write(&writer), read(&reader), read(&reader));
}

//! Put, read, delete, expire.

use crate::support::{HOUR, SECOND, cache_on, draft, hit, name, project};
use cache::{CacheError, Conditions, Draft};
use std::time::Duration;
use testkit::both;

#[tokio::test]
async fn what_was_put_is_read_with_all_that_was_said_about_it() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        let written = acme.put_tagged("folder/naïve {x}", "hello", &["b", "a"], HOUR).await;
        clock.advance(SECOND);

        let hit = hit(acme.read("folder/naïve {x}").await);
        assert_eq!(&hit.payload[..], b"hello");
        assert_eq!((hit.head.stamp(), hit.head.etag()), (written.stamp, written.etag));
        assert_eq!((hit.head.content_type(), hit.head.size_bytes()), ("text/plain", 5));
        assert_eq!(hit.head.tags().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((hit.age(), hit.ttl()), (SECOND, HOUR - SECOND));
    })
    .await;
}

#[tokio::test]
async fn a_put_says_whether_it_made_the_entry_and_each_stamp_is_greater() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        let first = acme.put("data", "1").await;
        let second = acme.put("data", "1").await;

        assert!(first.created && !second.created);
        assert!(first.stamp < second.stamp);
        assert_eq!(first.etag, second.etag, "the tag is of the content");
        assert_eq!(acme.text("data").await, Ok("1".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn an_entry_ends_with_its_ttl_on_the_clock_of_redis() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        acme.put_tagged("data", "1", &[], HOUR).await;

        clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!(acme.text("data").await, Ok("1".to_owned()));
        clock.advance(Duration::from_millis(1));
        assert_eq!(acme.text("data").await, Err("expired"));
        assert!(acme.put("data", "2").await.created);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_entry_is_gone_and_deleting_again_is_fine() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        let put = acme.put("data", "1").await.stamp;
        let first = cache.delete(&acme.id, &name("data"), &Conditions::default()).await.unwrap();
        let again = cache.delete(&acme.id, &name("data"), &Conditions::default()).await.unwrap();

        assert!(put < first && first < again);
        assert_eq!(acme.text("data").await, Err("absent"));
    })
    .await;
}

#[tokio::test]
async fn projects_do_not_see_each_other() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        project(&cache, "a").put("data", "1").await;
        assert_eq!(project(&cache, "b").text("data").await, Err("absent"));
    })
    .await;
}

#[tokio::test]
async fn payloads_of_every_size_come_back_byte_for_byte() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        // Around what travels through Lua, and the bound.
        for size in [0, 1, 1024, 128 * 1024, 128 * 1024 + 1, 8 * 1024 * 1024] {
            let payload: Vec<u8> = (0..size).map(|i: usize| (i * 31 % 251) as u8).collect();
            let (data, always) = (name("data"), Conditions::default());
            let put = cache.put(&acme.id, &data, draft(payload.clone(), &["t"]), &always);
            let written = put.await.unwrap();
            let hit = hit(acme.read("data").await);
            assert_eq!((hit.head.stamp(), hit.head.size_bytes()), (written.stamp, size));
            assert!(hit.payload == payload, "{size} bytes");
        }
        // Nothing that was sent ahead stays behind.
        assert_eq!(server.cli(&["DBSIZE"]).await, "4", "entry, seq, gen, names");
    })
    .await;
}

#[tokio::test]
async fn what_is_over_a_bound_is_refused_before_redis_hears_of_it() {
    let server = testkit::RedisServer::start().await;
    let (cache, _) = cache_on(&server);
    let acme = project(&cache, "acme");
    let limits = *cache.limits();
    let (data, always) = (name("data"), Conditions::default());
    let put = |draft| cache.put(&acme.id, &data, draft, &always);

    let over = draft(vec![0; limits.max_entry_bytes + 1], &[]);
    assert_eq!(put(over).await, Err(CacheError::TooLarge { limit_bytes: limits.max_entry_bytes }));
    for ttl in [Duration::ZERO, Duration::from_micros(999), limits.max_ttl + SECOND] {
        let error = CacheError::InvalidTtl { limit_s: limits.max_ttl.as_secs() };
        assert_eq!(put(Draft { ttl, ..draft("x", &[]) }).await, Err(error), "{ttl:?}");
    }
    assert_eq!(server.cli(&["DBSIZE"]).await, "0");
    put(Draft { ttl: limits.max_ttl, ..draft("x", &[]) }).await.unwrap();
}

#[tokio::test]
async fn every_key_has_a_ttl_that_outlives_the_entry() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        let month = 30 * 24 * HOUR;
        acme.put_tagged("data", "1", &[], month).await;
        acme.put_tagged("data", "1", &[], SECOND * 60).await;
        // Sent ahead under a short life of its own.
        acme.put_tagged("large", &"x".repeat(200_000), &[], month).await;

        for key in ["seq:{acme}", "gen:{acme}", "names:{acme}"] {
            let left = server.cli(&["PTTL", key]).await.parse::<u128>().unwrap();
            assert!(left > month.as_millis(), "{key}: {left} ms");
        }
        for (entry, ttl) in [("data", SECOND * 60), ("large", month)] {
            let left =
                server.cli(&["PTTL", &format!("project:{{acme}}:{entry}")]).await.parse::<u128>().unwrap();
            assert!(left <= ttl.as_millis() && left + 20_000 > ttl.as_millis(), "{entry}: {left} ms");
        }
    })
    .await;
}

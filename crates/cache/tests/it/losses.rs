//! What Redis may lose costs misses, never truth.

use crate::support::{HOUR, SECOND, cache_on, hit, project};
use cache::{Read, Scope};
use domain::Stamp;
use std::time::Duration;
use testkit::both;

#[tokio::test]
async fn a_lost_record_of_invalidations_never_revives_an_entry() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        acme.put("a", "1").await;
        acme.put("b", "1").await;
        cache.invalidate(&acme.id, &Scope::Project).await.unwrap();
        server.cli(&["DEL", "gen:{acme}"]).await;

        assert_eq!(acme.text("a").await, Err("forgotten"));
        acme.put("b", "2").await;
        assert_eq!(acme.text("a").await, Err("invalidated"));
        assert_eq!(acme.text("b").await, Ok("2".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_lost_last_stamp_gives_no_stamp_twice_though_the_clock_steps_back() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        let put = acme.put_tagged("a", "1", &["t"], HOUR).await;
        for loss in 0..3 {
            let before = acme.put("b", "1").await.stamp;
            server.cli(&["DEL", "seq:{acme}"]).await;
            clock.set(clock.now() - SECOND / 2);
            let after =
                cache.invalidate(&acme.id, &Scope::Tags(vec!["u".parse().unwrap()])).await.unwrap().stamp;
            assert!(put.stamp < before && before < after, "loss {loss}");
        }
        assert_eq!(acme.text("a").await, Err("invalidated"), "the loss costs what was there");
    })
    .await;
}

#[tokio::test]
async fn stamps_grow_though_the_clock_stands_still_or_goes_back() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        let mut last = Stamp::default();
        for round in 0..10 {
            let stamp = acme.put("a", "1").await.stamp;
            assert!(last < stamp, "round {round}");
            last = stamp;
            clock.set(clock.now() - Duration::from_millis(100) * (round % 2));
        }
    })
    .await;
}

#[tokio::test]
async fn a_redis_behind_an_authentic_stamp_is_a_miss_and_forgets_what_it_has() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        acme.put("a", "old").await;
        // The failover: an acknowledged write is lost, and what was there before is back.
        let kept = server.cli(&["GET", "seq:{acme}"]).await;
        let lost = cache.invalidate(&acme.id, &Scope::Names(vec![])).await.unwrap().stamp;
        server.cli(&["SET", "seq:{acme}", &kept]).await;

        assert_eq!(hit(acme.read("a").await).payload, "old", "nobody knows better without the stamp");
        let Read::Miss(miss) = acme.read_after("a", lost).await else { panic!("a hit") };
        assert_eq!(miss.reason.as_str(), "behind");
        assert_eq!(cache.stats().recoveries, 1);
        assert_eq!(acme.text("a").await, Err("invalidated"), "also for those without the stamp");
        // From here on all is as before, and the stamp is old news.
        assert!(acme.put("a", "new").await.stamp > lost);
        assert_eq!(hit(acme.read_after("a", lost).await).payload, "new");
        assert_eq!(cache.stats().recoveries, 1);
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_lost_everything_heals_from_the_first_reader_that_knows_better() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        let stamp = acme.put("a", "1").await.stamp;
        server.cli(&["FLUSHALL"]).await;
        clock.set(clock.now() - HOUR);

        assert!(matches!(acme.read_after("a", stamp).await, Read::Miss(_)));
        assert!(acme.put("a", "2").await.stamp > stamp, "although the clock is an hour behind");
        for key in ["seq:{acme}", "gen:{acme}", "names:{acme}"] {
            assert_ne!(server.cli(&["PTTL", key]).await, "-1", "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_no_reader_of_this_version_knows_is_a_miss() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        for (offset, byte) in [("0", "\u{2}"), ("1", "\u{1}")] {
            acme.put("a", "1").await;
            server.cli(&["SETRANGE", "project:{acme}:a", offset, byte]).await;
            assert_eq!(acme.text("a").await, Err("unreadable"), "byte {offset}");
        }
        acme.put("a", "long enough").await;
        server.cli(&["APPEND", "project:{acme}:a", "torn"]).await;
        assert_eq!(acme.text("a").await, Err("unreadable"), "torn");
        assert!(acme.put("a", "2").await.created || acme.text("a").await.is_ok());
    })
    .await;
}

//! Pages of names, honest about what is no longer there.

use crate::support::{HOUR, Project, SECOND, cache_on, name, project};
use cache::{Conditions, Cursor, Scope};
use std::collections::BTreeSet;
use testkit::both;

/// All names by pages of `limit`, whether each page was complete, and how many pages it took.
async fn all(project: &Project, limit: usize) -> (Vec<String>, bool, usize) {
    let (mut names, mut complete, mut pages) = (Vec::new(), true, 0);
    let mut after: Option<Cursor> = None;
    loop {
        let page = project.cache.list(&project.id, after, limit).await.unwrap();
        names.extend(page.entries.iter().map(|listed| listed.name.to_string()));
        (complete, pages) = (complete && page.complete, pages + 1);
        after = page.next;
        if after.is_none() {
            return (names, complete, pages);
        }
    }
}

#[tokio::test]
async fn pages_hold_each_live_entry_once_in_the_order_of_their_end() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        for i in (0..25_u32).rev() {
            acme.put_tagged(&format!("n{i:02}"), "12345", &["t"], SECOND * (60 + i)).await;
        }
        let expected: Vec<_> = (0..25).map(|i| format!("n{i:02}")).collect();
        for (limit, pages) in [(1, 26), (10, 3), (25, 2), (500, 1)] {
            assert_eq!(all(&acme, limit).await, (expected.clone(), true, pages), "pages of {limit}");
        }
        let first = cache.list(&acme.id, None, 1).await.unwrap().entries.remove(0);
        assert_eq!((first.head.size_bytes(), first.ttl), (5, SECOND * 60));
    })
    .await;
}

#[tokio::test]
async fn names_that_end_in_the_same_moment_all_show_up() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        let mut expected = BTreeSet::new();
        for i in 0..10 {
            acme.put(&format!("n{i}"), "1").await;
            // As if two writes had added up to the same end: the rule must not hang on luck.
            server.cli(&["ZADD", "names:{acme}", "1999999999000000", &format!("n{i}")]).await;
            expected.insert(format!("n{i}"));
        }
        for limit in [1, 3, 10, 11] {
            let (names, ..) = all(&acme, limit).await;
            assert_eq!(names.len(), 10, "pages of {limit}");
            assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected, "pages of {limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_is_not_listed() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        for (entry, tag, ttl) in [
            ("kept", "x", HOUR),
            ("deleted", "x", HOUR),
            ("evicted", "x", HOUR),
            ("tagged", "t", HOUR),
            ("ended", "x", SECOND),
        ] {
            acme.put_tagged(entry, "1", &[tag], ttl).await;
        }
        cache.delete(&acme.id, &name("deleted"), &Conditions::default()).await.unwrap();
        server.cli(&["DEL", "project:{acme}:evicted"]).await;
        cache.invalidate(&acme.id, &Scope::Tags(vec!["t".parse().unwrap()])).await.unwrap();
        clock.advance(SECOND);
        assert_eq!(all(&acme, 100).await, (vec!["kept".to_owned()], true, 1));

        cache.invalidate(&acme.id, &Scope::Project).await.unwrap();
        assert_eq!(all(&acme, 100).await, (vec![], true, 1));
    })
    .await;
}

#[tokio::test]
async fn a_listing_says_when_its_index_was_lost_until_it_no_longer_matters() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        assert_eq!(all(&acme, 10).await, (vec![], true, 1), "a project that never was");
        acme.put("a", "1").await;
        server.cli(&["DEL", "names:{acme}"]).await;
        assert_eq!(all(&acme, 10).await, (vec![], false, 1));
        acme.put("b", "1").await;
        assert_eq!(all(&acme, 10).await, (vec!["b".to_owned()], false, 1));

        cache.invalidate(&acme.id, &Scope::Project).await.unwrap();
        acme.put("c", "1").await;
        assert_eq!(all(&acme, 10).await, (vec!["c".to_owned()], true, 1));
        // The record of invalidations going too makes everything older a miss: nothing live is missing.
        server.cli(&["DEL", "names:{acme}", "gen:{acme}"]).await;
        acme.put("d", "1").await;
        assert_eq!(all(&acme, 10).await, (vec!["d".to_owned()], true, 1));
    })
    .await;
}

#[tokio::test]
async fn puts_clear_away_expired_names_in_bounded_slices() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");
        for i in 0..100 {
            acme.put_tagged(&format!("n{i}"), "1", &[], SECOND).await;
        }
        clock.advance(HOUR);
        for left in [100 - 64 + 1, 2, 2] {
            acme.put("data", "1").await;
            // The mark at which the index began is a member too.
            assert_eq!(
                server.cli(&["ZCARD", "names:{acme}"]).await,
                (left + i32::from(left > 2)).to_string()
            );
        }
    })
    .await;
}

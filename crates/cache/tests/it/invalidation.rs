//! Invalidation: one write, whatever the number of entries.

use crate::support::{HOUR, cache_at, cache_on, name, project};
use cache::{Limits, Scope};
use domain::TagName;
use testkit::both;

fn tags(names: &[&str]) -> Scope {
    Scope::Tags(names.iter().map(|tag| tag.parse().unwrap()).collect())
}

#[tokio::test]
async fn a_project_forgets_all_it_had_and_takes_new_entries_at_once() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let (acme, other) = (project(&cache, "acme"), project(&cache, "other"));
        acme.put("a", "1").await;
        acme.put_tagged("b", "1", &["t"], HOUR).await;
        other.put("a", "1").await;
        let invalidated = cache.invalidate(&acme.id, &Scope::Project).await.unwrap();
        let after = acme.put("c", "2").await;

        assert!(invalidated.whole_project && invalidated.stamp < after.stamp);
        assert_eq!(acme.text("a").await, Err("invalidated"));
        assert_eq!(acme.text("b").await, Err("invalidated"));
        assert_eq!(acme.text("c").await, Ok("2".to_owned()));
        assert_eq!(other.text("a").await, Ok("1".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_tag_takes_its_entries_and_no_others() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        // A tag named like the project's own mark is a tag like any other.
        for (entry, tags) in [("one", ["p", "x"]), ("two", ["x", "y"]), ("three", ["y", "z"])] {
            acme.put_tagged(entry, "1", &tags, HOUR).await;
        }
        cache.invalidate(&acme.id, &tags(&["p"])).await.unwrap();
        assert_eq!(acme.text("one").await, Err("invalidated"));
        assert_eq!(acme.text("two").await, Ok("1".to_owned()));

        cache.invalidate(&acme.id, &tags(&["x", "unused"])).await.unwrap();
        assert_eq!(acme.text("two").await, Err("invalidated"));
        assert_eq!(acme.text("three").await, Ok("1".to_owned()));
        acme.put_tagged("two", "2", &["x"], HOUR).await;
        assert_eq!(acme.text("two").await, Ok("2".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn names_are_invalidated_by_name() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        for entry in ["a", "b", "c"] {
            acme.put(entry, "1").await;
        }
        let scope = Scope::Names(vec![name("a"), name("c"), name("never put")]);
        let invalidated = cache.invalidate(&acme.id, &scope).await.unwrap();
        assert!(!invalidated.whole_project);
        assert_eq!(acme.text("a").await, Err("absent"));
        assert_eq!(acme.text("b").await, Ok("1".to_owned()));
        assert_eq!(acme.text("c").await, Err("absent"));
    })
    .await;
}

#[tokio::test]
async fn an_empty_list_is_nothing_and_never_everything() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        acme.put("a", "1").await;
        for scope in [tags(&[]), Scope::Names(vec![])] {
            assert!(!cache.invalidate(&acme.id, &scope).await.unwrap().whole_project);
            assert_eq!(acme.text("a").await, Ok("1".to_owned()), "{scope:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn more_tags_than_can_be_remembered_invalidate_the_project() {
    both(|server| async move {
        let clock = cache_on(&server).1;
        let limits = Limits { max_invalidated_tags: 10, ..Limits::default() };
        let cache = cache_at(&server.url(), clock, limits);
        let acme = project(&cache, "acme");
        acme.put("untagged", "1").await;
        let ten: Vec<TagName> = (0..10).map(|i| format!("t{i}").parse().unwrap()).collect();

        assert!(!cache.invalidate(&acme.id, &Scope::Tags(ten.clone())).await.unwrap().whole_project);
        assert!(!cache.invalidate(&acme.id, &Scope::Tags(ten)).await.unwrap().whole_project);
        assert_eq!(acme.text("untagged").await, Ok("1".to_owned()));
        assert!(cache.invalidate(&acme.id, &tags(&["one-more"])).await.unwrap().whole_project);
        assert_eq!(acme.text("untagged").await, Err("invalidated"));
        // And there is room again.
        assert!(!cache.invalidate(&acme.id, &tags(&["one-more"])).await.unwrap().whole_project);
        assert_eq!(server.cli(&["HLEN", "gen:{acme}"]).await, "2");
    })
    .await;
}

#[tokio::test]
async fn an_acknowledged_invalidation_is_seen_by_every_other_node() {
    both(|server| async move {
        let (here, clock) = cache_on(&server);
        let there = project(&cache_at(&server.url(), clock, Limits::default()), "acme");
        let acme = project(&here, "acme");
        for round in 0..200 {
            acme.put_tagged("data", &round.to_string(), &["t"], HOUR).await;
            assert_eq!(there.text("data").await, Ok(round.to_string()));
            here.invalidate(&acme.id, &tags(&["t"])).await.unwrap();
            assert_eq!(there.text("data").await, Err("invalidated"), "round {round}");
        }
    })
    .await;
}

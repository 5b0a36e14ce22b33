//! Conditional writes, judged in the same step that writes.

use crate::support::{HOUR, Project, cache_on, draft, name, project};
use cache::{CacheError, Conditions, EntityTag, Matching, Scope};
use testkit::both;

fn only_if(if_match: Matching) -> Conditions {
    Conditions { if_match: Some(if_match), if_none_match: None }
}

fn unless(if_none_match: Matching) -> Conditions {
    Conditions { if_match: None, if_none_match: Some(if_none_match) }
}

async fn put(project: &Project, text: &str, conditions: Conditions) -> Result<EntityTag, CacheError> {
    let put = project.cache.put(&project.id, &name("data"), draft(text.to_owned(), &[]), &conditions).await;
    put.map(|written| written.etag)
}

#[tokio::test]
async fn a_put_that_names_the_current_tag_replaces_it_and_an_old_tag_does_not() {
    both(|server| async move {
        let acme = project(&cache_on(&server).0, "acme");
        let first = put(&acme, "1", Conditions::default()).await.unwrap();
        let second = put(&acme, "2", only_if(Matching::OneOf(vec![first]))).await.unwrap();

        assert_eq!(
            put(&acme, "3", only_if(Matching::OneOf(vec![first]))).await,
            Err(CacheError::PreconditionFailed)
        );
        assert_eq!(acme.text("data").await, Ok("2".to_owned()));
        assert!(put(&acme, "4", only_if(Matching::OneOf(vec![first, second]))).await.is_ok());
        assert_eq!(
            put(&acme, "5", only_if(Matching::OneOf(vec![]))).await,
            Err(CacheError::PreconditionFailed)
        );
    })
    .await;
}

#[tokio::test]
async fn of_many_puts_that_want_to_be_the_first_one_is() {
    both(|server| async move {
        let acme = project(&cache_on(&server).0, "acme");
        let mut puts = tokio::task::JoinSet::new();
        for text in 0..20 {
            let acme = acme.clone();
            puts.spawn(async move { put(&acme, &text.to_string(), unless(Matching::Any)).await });
        }
        let outcomes = puts.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn conditions_see_only_what_a_reader_would_see() {
    both(|server| async move {
        let (cache, clock) = cache_on(&server);
        let acme = project(&cache, "acme");

        assert_eq!(
            put(&acme, "1", only_if(Matching::Any)).await,
            Err(CacheError::PreconditionFailed),
            "absent"
        );
        put(&acme, "1", Conditions::default()).await.unwrap();
        cache.invalidate(&acme.id, &Scope::Project).await.unwrap();
        assert_eq!(
            put(&acme, "2", only_if(Matching::Any)).await,
            Err(CacheError::PreconditionFailed),
            "invalidated"
        );
        put(&acme, "3", unless(Matching::Any)).await.unwrap();
        clock.advance(HOUR);
        put(&acme, "4", unless(Matching::Any)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_delete_holds_to_its_conditions_too() {
    both(|server| async move {
        let acme = project(&cache_on(&server).0, "acme");
        let tag = put(&acme, "1", Conditions::default()).await.unwrap();
        let other = EntityTag::of("text/plain", b"other");
        let data = name("data");
        let delete = async |conditions| acme.cache.delete(&acme.id, &data, &conditions).await;

        assert_eq!(delete(only_if(Matching::OneOf(vec![other]))).await, Err(CacheError::PreconditionFailed));
        assert_eq!(delete(unless(Matching::OneOf(vec![tag]))).await, Err(CacheError::PreconditionFailed));
        assert_eq!(acme.text("data").await, Ok("1".to_owned()));
        assert!(delete(only_if(Matching::OneOf(vec![tag]))).await.is_ok());
        assert_eq!(acme.text("data").await, Err("absent"));
    })
    .await;
}

#[tokio::test]
async fn a_large_put_that_is_refused_leaves_nothing_behind() {
    both(|server| async move {
        let acme = project(&cache_on(&server).0, "acme");
        let large = draft(vec![1; 1 << 20], &[]);
        let put = acme.cache.put(&acme.id, &name("data"), large, &only_if(Matching::Any)).await;
        assert_eq!(put, Err(CacheError::PreconditionFailed));
        assert_eq!(server.cli(&["DBSIZE"]).await, "0");
    })
    .await;
}

//! A Redis over its memory bound: what brings data in is refused, what protects readers runs.

use crate::support::{cache_on, draft, hit, name, project};
use cache::{CacheError, Conditions, Scope};
use redis_core::RedisError;
use testkit::both;

#[tokio::test]
async fn a_full_redis_refuses_puts_and_still_invalidates() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        acme.put("kept", "1").await;
        acme.put("other", "1").await;
        let kept = server.cli(&["GET", "seq:{acme}"]).await;
        server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
        server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;

        for size in [1, 1 << 20] {
            let put =
                cache.put(&acme.id, &name("new"), draft(vec![0; size], &[]), &Conditions::default()).await;
            assert_eq!(put, Err(CacheError::Redis(RedisError::Full)), "{size} bytes");
        }
        assert_eq!(hit(acme.read("kept").await).payload, "1");
        assert_eq!(cache.list(&acme.id, None, 10).await.unwrap().entries.len(), 2);

        cache.delete(&acme.id, &name("other"), &Conditions::default()).await.unwrap();
        let lost = cache.invalidate(&acme.id, &Scope::Project).await.unwrap().stamp;
        assert_eq!(acme.text("kept").await, Err("invalidated"));

        server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
        server.cli(&["SET", "seq:{acme}", &kept]).await;
        server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
        acme.read_after("kept", lost).await;
        assert_eq!(cache.stats().recoveries, 1, "and still recovers");
    })
    .await;
}

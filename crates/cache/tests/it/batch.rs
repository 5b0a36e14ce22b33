//! Many entries at once.

use crate::support::{cache_on, draft, name, project, text_of};
use cache::{Conditions, Found};
use testkit::both;

fn shown(found: Found) -> String {
    match found {
        Found::Read(read) => {
            text_of(read).map_or_else(|reason| format!("({reason})"), |text| text[..1].to_owned())
        }
        Found::TooMuch(hit) => format!("({} bytes)", hit.head.size_bytes()),
    }
}

#[tokio::test]
async fn many_are_read_in_their_order_small_and_large() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        for (entry, size) in [("a", 1), ("b", 20_000), ("c", 300_000), ("d", 16_000)] {
            let draft = draft(entry.repeat(size), &["t"]);
            cache.put(&acme.id, &name(entry), draft, &Conditions::default()).await.unwrap();
        }
        let names = ["d", "nope", "c", "b", "a", "a"].map(name);
        let read = async |at_most| -> Vec<String> {
            let found = cache.read_many(&acme.id, &names, None, at_most).await.unwrap();
            found.into_iter().map(shown).collect()
        };

        assert_eq!(read(1 << 20).await, ["d", "(absent)", "c", "b", "a", "a"]);
        assert_eq!(read(40_000).await, ["d", "(absent)", "(300000 bytes)", "b", "a", "a"]);
        assert_eq!(
            read(1).await,
            ["(16000 bytes)", "(absent)", "(300000 bytes)", "(20000 bytes)", "a", "(1 bytes)"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_redis_behind_the_stamp_is_a_miss_for_all_of_them() {
    both(|server| async move {
        let (cache, _) = cache_on(&server);
        let acme = project(&cache, "acme");
        acme.put("a", "1").await;
        let kept = server.cli(&["GET", "seq:{acme}"]).await;
        let lost = acme.put("b", "1").await.stamp;
        server.cli(&["SET", "seq:{acme}", &kept]).await;

        let found = cache.read_many(&acme.id, &[name("a"), name("b")], Some(lost), 100).await.unwrap();
        assert_eq!(found.into_iter().map(shown).collect::<Vec<_>>(), ["(behind)", "(behind)"]);
        assert_eq!(cache.stats().recoveries, 1);
    })
    .await;
}

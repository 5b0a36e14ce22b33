//! What each server says of itself.

use redis_core::{Redis, RedisConfig};
use std::collections::BTreeSet;
use testkit::RedisServer;

#[tokio::test]
async fn info_is_that_of_each_server_that_holds_keys() {
    let (plain, cluster, [one, other]) =
        tokio::join!(RedisServer::start(), RedisServer::cluster(), RedisServer::cluster_of_two());
    for (url, servers) in [
        (plain.url(), vec![&plain]),
        (cluster.url(), vec![&cluster]),
        (cluster.cluster_url(), vec![&cluster]),
        (one.cluster_url(), vec![&one, &other]),
        (other.cluster_url(), vec![&one, &other]),
    ] {
        let redis = Redis::connect(&RedisConfig::at(url));
        let texts = redis.info(&["server"]).await.unwrap();

        let run_id =
            |text: &str| Some(text.lines().find_map(|it| it.strip_prefix("run_id:"))?.trim().to_owned());
        let told: BTreeSet<_> = texts.iter().filter_map(|text| run_id(text)).collect();
        let mut expected = BTreeSet::new();
        for server in servers {
            expected.insert(server.info("run_id").await);
        }
        assert_eq!((texts.len(), told), (expected.len(), expected));
    }
}

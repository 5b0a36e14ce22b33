//! The same rights are enough on a cluster.

use serde_json::json;
use testkit::{Keys, RedisServer, Service};

#[tokio::test]
async fn a_service_works_on_a_cluster_as_its_user() {
    let cluster = RedisServer::cluster_of_two().await;
    let (keys, key) = Keys::admin();
    let (url, file) = (cluster[0].cluster_url(), keys.path().display().to_string());
    let env = [("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", &*file)];
    let queue_worker = Service::start("queue-worker", &env).await;
    let client = queue_worker.client(&key);

    // Names that lie on both.
    for queue in ["a", "b", "c", "d"] {
        let path = format!("/v1/queues/{queue}/tasks");
        client.json(client.post(&path, &json!({ "payload": 1, "progress": true }))).await;
        let lease = json!({ "worker": "w", "wait_ms": 10_000 });
        let leased = client.json(client.post(&format!("/v1/queues/{queue}/leases"), &lease)).await;
        assert_eq!(leased["tasks"][0]["payload"], 1, "{leased}");
    }
    let health = client.json(client.get("/health")).await;
    assert_eq!(health["checks"]["redis"]["servers"].as_array().map(Vec::len), Some(2), "{health}");

    for server in &cluster {
        assert!(server.cli(&["DBSIZE"]).await != "0", "it has some of them");
        assert_eq!(server.denials().await, Vec::<String>::new());
    }
}

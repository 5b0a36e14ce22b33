//! docs/queue.md: what it shows runs.

use crate::support::Stage;
use serde_json::json;
use std::path::Path;
use testkit::Service;

#[tokio::test]
async fn the_worker_of_the_guide_does_its_work() {
    let guide = include_str!("../../../../docs/queue.md");
    let (_, rest) = guide.split_once("```python worker.py\n").unwrap();
    let (program, _) = rest.split_once("```").unwrap();
    assert!(program.lines().filter(|line| !line.is_empty()).count() <= 15, "the guide says how short it is");

    let stage = Stage::new().await;
    let python = ["/usr/bin/python3", "/usr/local/bin/python3", "/opt/homebrew/bin/python3"];
    let python =
        python.iter().map(Path::new).find(|path| path.exists()).expect("python3 for the guide's worker");
    let url = stage.service.base_url();
    let environment = [("SLUICE_URL", url.as_str()), ("SLUICE_KEY", stage.key.as_str())];
    let _worker = Service::spawn_program(python, "python-worker", &["-c", program], &environment);

    let good = stage.enqueue("embeddings", json!({"payload": {"text": "hello"}})).await;
    let bad = stage.enqueue("embeddings", json!({"payload": {}, "max_attempts": 1})).await;
    assert_eq!(stage.ended("embeddings", &good).await["result"], json!({"length": 5}));
    assert_eq!(stage.ended("embeddings", &bad).await["errors"][0]["message"], "KeyError('text')");
}

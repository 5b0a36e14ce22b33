//! The handler `export_project`.

use crate::support::{SOON, Stage};
use bytes::Bytes;
use cache::{Cache, Conditions, ContentType, Draft, Limits, Read as CacheRead, Tags};
use domain::{EntryName, OperationState, ProjectId, StepState};
use queue_worker::{Manifest, SkipReason, Skipped};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;
use testkit::until;

/// A project of a stage.
struct Project {
    cache: Cache,
    id: ProjectId,
}

impl Project {
    fn of(stage: &Stage) -> Self {
        Self { cache: Cache::new(stage.handle(), Limits::default()), id: "acme".parse().unwrap() }
    }

    async fn put(&self, files: &BTreeMap<EntryName, Vec<u8>>) {
        for (name, content) in files {
            let draft = Draft {
                content_type: ContentType::octets(),
                tags: Tags::default(),
                ttl: Duration::from_secs(3600),
                payload: Bytes::from(content.clone()),
            };
            self.cache.put(&self.id, name, draft, &Conditions::default()).await.unwrap();
        }
    }

    async fn delete(&self, name: &str) {
        self.cache.delete(&self.id, &name.parse().unwrap(), &Conditions::default()).await.unwrap();
    }

    async fn get(&self, name: &str) -> Option<Bytes> {
        match self.cache.read(&self.id, &name.parse().unwrap(), None).await.unwrap() {
            CacheRead::Hit(hit) => Some(hit.payload),
            CacheRead::Miss(_) => None,
        }
    }

    /// The files of an archive, by its manifest; every sum is checked.
    async fn unpack(&self, archive: &str, result: &Value) -> (Manifest, BTreeMap<EntryName, Vec<u8>>) {
        let json = self.get(&format!("{archive}/manifest.json")).await.unwrap();
        assert_eq!(result["manifest_sha256"], sha256(&json));
        let manifest: Manifest = serde_json::from_slice(&json).unwrap();
        let mut whole = Vec::new();
        for part in &manifest.parts {
            let bytes = self.get(part.name.as_str()).await.unwrap();
            assert_eq!((part.size, &part.sha256), (bytes.len() as u64, &sha256(&bytes)));
            assert!(part.size <= 4 * 1024 * 1024);
            whole.extend_from_slice(&bytes);
        }
        assert_eq!(manifest.archive_sha256, sha256(&whole));
        let mut tar = tar::Archive::new(zstd::Decoder::new(whole.as_slice()).unwrap());
        let files = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name.parse().unwrap(), content)
        });
        let files = files.collect();
        (manifest, files)
    }
}

async fn export(stage: &Stage, payload: Value) -> Value {
    let id = stage.enqueue("exports", json!({"payload": payload, "progress": true})).await;
    stage.ended("exports", &id).await
}

fn files(names: &[(&str, usize)]) -> BTreeMap<EntryName, Vec<u8>> {
    names.iter().map(|(name, size)| (name.parse().unwrap(), noise(*size))).collect()
}

/// Bytes that no compression makes smaller.
fn noise(size: usize) -> Vec<u8> {
    let mut state = size as u64 + 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(step).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_archive_holds_the_project_byte_for_byte() {
    let stage = Stage::new().await;
    let project = Project::of(&stage);
    let long = format!("deep/{}end.txt", "folder/".repeat(25));
    let mut wanted = files(&[
        ("docs/read me.md", 5000),
        ("docs/日本.txt", 77),
        (&long, 10),
        ("empty", 0),
        ("large.bin", 6_000_000),
        ("src/lib.rs", 12_345),
    ]);
    project.put(&wanted).await;
    project.put(&files(&[("../outside", 5), ("folder/", 5)])).await;

    let payload = json!({"project": "acme", "archive": "exports/one"});
    let id = stage.enqueue("exports", json!({"payload": payload, "progress": true})).await;
    let task = stage.ended("exports", &id).await;
    assert_eq!(task["state"], "succeeded", "{task}");

    let result = &task["result"];
    let (manifest, unpacked) = project.unpack("exports/one", result).await;
    assert_eq!(unpacked, wanted);
    assert_eq!(
        manifest.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>()
    );
    assert!(manifest.files.iter().all(|file| file.sha256 == sha256(&wanted[&file.path])));
    let skipped: Vec<_> =
        manifest.skipped.iter().map(|skipped| (skipped.name.as_str(), skipped.reason)).collect();
    assert_eq!(
        skipped,
        [("../outside", SkipReason::UnportableName), ("folder/", SkipReason::UnportableName)]
    );
    assert_eq!(
        (&result["files"], &result["parts"], &result["skipped_total"]),
        (&json!(6), &json!(2), &json!(2))
    );

    let shown = stage.operation("exports", &id, |shown| shown.state.is_final()).await;
    let steps: Vec<_> = shown.steps.iter().map(|step| (step.name.as_str(), step.state)).collect();
    let done = ["list", "read", "pack", "upload", "verify"].map(|step| (step, StepState::Completed));
    assert_eq!(steps, done);
    assert_eq!((shown.state, shown.percent), (OperationState::Completed, 100.0));

    // A further export leaves the first archive out, and gives the same bytes.
    let again = export(&stage, json!({"project": "acme", "archive": "exports/two"})).await;
    assert_eq!(again["result"]["archive_sha256"], result["archive_sha256"]);

    // A shorter archive in the same place leaves nothing of the longer one behind.
    wanted.retain(|name, _| name.as_str().starts_with("docs/"));
    let shorter =
        export(&stage, json!({"project": "acme", "archive": "exports/one", "prefix": "docs/"})).await;
    assert_eq!(project.unpack("exports/one", &shorter["result"]).await.1, wanted);
    assert_eq!(project.get("exports/one/part-0001").await, None);
}

#[tokio::test]
async fn an_entry_that_goes_while_the_export_runs_is_named_and_left_out() {
    let (stage, proxy) = Stage::behind_a_proxy().await;
    let project = Project::of(&stage);
    project.put(&files(&[("first", 5), ("second", 5)])).await;

    // Both are listed when the first is read.
    proxy.hold_replies_once_asked("project:{acme}:first");
    let payload = json!({"project": "acme", "archive": "a"});
    let id = stage.enqueue("exports", json!({"payload": payload, "progress": true})).await;
    until(async || proxy.holds_replies(), SOON).await;
    project.delete("second").await;

    let now = [
        ("list", 5, StepState::Completed),
        ("read", 35, StepState::Running),
        ("pack", 25, StepState::Pending),
        ("upload", 20, StepState::Pending),
        ("verify", 15, StepState::Pending),
    ];
    let shown = stage.operation("exports", &id, |_| true).await;
    let steps = shown.steps.iter().map(|step| (step.name.as_str(), step.weight.unwrap_or(1), step.state));
    assert_eq!(steps.collect::<Vec<_>>(), now, "what is done, what runs, and what is to come");
    proxy.hold_replies(false);

    let result = &stage.ended("exports", &id).await["result"];
    let (manifest, unpacked) = project.unpack("a", result).await;
    assert_eq!(unpacked.keys().map(EntryName::as_str).collect::<Vec<_>>(), ["first"]);
    let skipped = Skipped { name: "second".parse().unwrap(), reason: SkipReason::Gone };
    assert_eq!((result["files"].clone(), manifest.skipped), (json!(1), vec![skipped]));
}

#[tokio::test]
async fn what_is_not_there_as_it_was_written_is_written_again() {
    for (name, change, says) in [
        ("a/part-0000", Some("other"), "is not what was written"),
        ("a/part-0000", None, "was evicted or invalidated"),
        ("a/manifest.json", Some("{}"), "is not what was written"),
    ] {
        let (stage, proxy) = Stage::behind_a_proxy().await;
        let project = Project::of(&stage);
        project.put(&files(&[("one", 5)])).await;

        // All of it is written, and the export does not know it yet.
        proxy.hold_replies_once_asked("project:{acme}:a/manifest.json");
        let payload = json!({"project": "acme", "archive": "a"});
        let backoff = json!({"base_ms": 0, "cap_ms": 0});
        let id = stage.enqueue("exports", json!({"payload": payload, "backoff": backoff})).await;
        until(async || proxy.holds_replies() && project.get("a/manifest.json").await.is_some(), SOON).await;
        project.delete(name).await;
        if let Some(change) = change {
            project.put(&BTreeMap::from([(name.parse().unwrap(), change.into())])).await;
        }
        proxy.hold_replies(false);

        let task = stage.ended("exports", &id).await;
        let message = task["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(name) && message.contains(says), "{task}");
        assert_eq!((&task["state"], &task["attempts"]), (&json!("succeeded"), &json!(1)));
        assert_eq!(project.unpack("a", &task["result"]).await.1.len(), 1);
    }
}

#[tokio::test]
async fn the_manifest_names_all_that_was_left_out_and_the_result_the_first_hundred() {
    let stage = Stage::new().await;
    let project = Project::of(&stage);
    let names: Vec<_> = (0..101).map(|number| format!("folder-{number:03}/")).collect();
    project.put(&names.iter().map(|name| (name.parse().unwrap(), b"x".to_vec())).collect()).await;

    let result = &export(&stage, json!({"project": "acme", "archive": "a"})).await["result"];

    let (manifest, _) = project.unpack("a", result).await;
    let named: Vec<_> = manifest.skipped.iter().map(|skipped| skipped.name.as_str()).collect();
    assert_eq!(named, names);
    assert_eq!(result["skipped_total"], 101);
    let first = result["skipped"].as_array().unwrap().iter().map(|skipped| skipped["name"].as_str().unwrap());
    assert_eq!(first.collect::<Vec<_>>(), names[..100]);
}

#[tokio::test]
async fn an_archive_lives_as_long_as_it_was_said() {
    let stage = Stage::new().await;
    Project::of(&stage).put(&files(&[("one", 5)])).await;
    for (ttl_ms, longest_ms) in [(None, 3_600_000), (Some(60_000), 60_000)] {
        let task = export(&stage, json!({"project": "acme", "archive": "a", "ttl_ms": ttl_ms})).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        for name in ["part-0000", "manifest.json"] {
            let left: u64 =
                stage.redis.cli(&["PTTL", &format!("project:{{acme}}:a/{name}")]).await.parse().unwrap();
            assert!((longest_ms - 30_000..=longest_ms).contains(&left), "{name}: {left} ms");
        }
    }
}

#[tokio::test]
async fn an_empty_project_makes_an_empty_archive() {
    let stage = Stage::new().await;
    let task = export(&stage, json!({"project": "acme", "archive": "a"})).await;
    let (manifest, unpacked) = Project::of(&stage).unpack("a", &task["result"]).await;
    assert!(manifest.files.is_empty() && unpacked.is_empty());
}

#[tokio::test]
async fn a_payload_that_makes_no_sense_is_dead_at_once_and_names_the_field() {
    let stage = Stage::new().await;
    for (payload, says) in [
        (json!({"project": "acme"}), "missing field `archive`"),
        (json!({"project": "acme", "archive": "a", "format": "zip"}), "unknown field `format`"),
        (json!({"project": "{}", "archive": "a"}), "not a valid project id"),
        (json!({"project": "acme", "archive": "a", "level": 99}), "level: 1 to 19"),
        (json!({"project": "acme", "archive": "a", "throttle_ms": 10_001}), "throttle_ms: at most 10000"),
        (json!({"project": "acme", "archive": "a", "ttl_ms": 0}), "ttl_ms: 1 to "),
        (json!({"project": "acme", "archive": "a".repeat(250)}), "archive: at most 242 bytes"),
        (json!("export all"), "invalid type"),
    ] {
        let task = export(&stage, payload.clone()).await;
        assert_eq!((&task["state"], &task["attempts"]), (&json!("dead"), &json!(1)), "{payload}");
        let message = task["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(says), "{payload}: {message}");
    }
}

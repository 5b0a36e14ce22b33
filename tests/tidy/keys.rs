//! Every Redis key of an engine or a service is built in its `keys.rs`.

use crate::rust::{calls, code, line};
use crate::tree::{File, Tree};

/// What comes before the hash tag of each family of keys.
const FAMILIES: [&str; 11] =
    ["project", "seq", "gen", "fill", "names", "session", "rl", "queue", "progress", "feed", "correlation"];

/// Behind `sluice:`. Not every text that begins so is a key: a tag of a cache entry may.
const OWN: [&str; 9] =
    ["alerts", "canary", "clock", "counters", "keys", "queues", "running", "schema", "tickets"];

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let rust = tree.ending(".rs").filter(|file| is_bound(file)).flat_map(in_rust);
    rust.chain(tree.ending(".lua").flat_map(in_lua)).collect()
}

/// `redis-core` makes keys of what `keys.rs` hands it; `redis-acl` names patterns of them; tests may look at any key.
fn is_bound(file: &File) -> bool {
    let is_source = file.is_in("crates/") || file.is_in("services/");
    let is_free = ["crates/redis-core", "crates/redis-acl", "crates/testkit"].contains(&file.package());
    is_source && !is_free && file.path.contains("/src/") && file.name() != "keys.rs"
}

fn in_rust(file: &File) -> Vec<String> {
    let code = code(&file.text);
    let mut complaints = Vec::new();
    let mut complain = |at: usize, what: &str| {
        complaints.push(format!("{}:{}: {what}: move it to keys.rs", file.path, line(&code, at)));
    };
    for name in [".key(", ".channel("] {
        for call in calls(&code, name).iter().filter(|call| !call.arguments.is_empty()) {
            complain(call.at, "builds a key");
        }
    }
    for family in FAMILIES {
        for (at, _) in code.match_indices(&format!("\"{family}:{{")) {
            complain(at, "spells a key");
        }
    }
    for name in OWN {
        for (at, _) in code.match_indices(&format!("\"sluice:{name}")) {
            complain(at, "spells a key");
        }
    }
    complaints
}

fn in_lua(file: &File) -> Vec<String> {
    let spelled = |text: &str| {
        let quoted =
            |start: &str| text.contains(&format!("'{start}")) || text.contains(&format!("\"{start}"));
        FAMILIES.iter().any(|family| quoted(&format!("{family}:"))) || quoted("sluice:")
    };
    let lines = file.text.lines().enumerate().filter(|(_, text)| !text.starts_with("--") && spelled(text));
    let complaint = |at: usize| format!("{}:{at}: spells a key: it must come through KEYS", file.path);
    lines.map(|(at, _)| complaint(at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, text: &str) -> usize {
        complaints(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_key_built_elsewhere_is_reported() {
        for text in [
            "let key = redis.key(tail);",
            "let channel = self.redis.channel(format_args!(\"x\"));",
            "let key = format!(\"queue:{{{queue}}}:leases\");",
            "const KEYS: &str = \"sluice:keys\";",
        ] {
            assert_eq!(ask("crates/queue/src/queue.rs", text), 1, "{text}");
            assert_eq!(ask("services/queue-worker/src/lib.rs", text), 1, "{text}");
            assert_eq!(ask("crates/queue/src/keys.rs", text), 0, "{text}");
            assert_eq!(ask("crates/queue/tests/it/main.rs", text), 0, "{text}");
            assert_eq!(ask("crates/queue/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}\n}}")), 0);
        }
        assert_eq!(ask("crates/queue/src/scripts/a.lua", "redis.call('GET', 'queue:{a}:b')"), 1);
    }

    #[test]
    fn what_only_looks_like_a_key_is_not() {
        for text in [
            "let key = entry.key();",
            "/// `queue:{Q}:leases`",
            "warn!(\"sluice: nothing\");",
            "\"sluice:archive\"",
        ] {
            assert_eq!(ask("crates/queue/src/queue.rs", text), 0, "{text}");
        }
        assert_eq!(ask("crates/queue/src/scripts/a.lua", "-- KEYS[1]  queue:{Q}:leases  hash"), 0);
    }
}

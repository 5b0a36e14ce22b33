//! The commands of each area in `crates/redis-acl/src/table.rs`: those that its engine's scripts and methods call, and
//! none besides. An area belongs to whoever builds its names in a `keys.rs`; the services share theirs.

use std::collections::{BTreeMap, BTreeSet};

use redis_acl::{AREAS, Area};

use crate::lua;
use crate::tree::{File, Tree};

/// A call in Rust, and the commands that it sends. (`command("X", …)` sends X.)
const METHODS: [(&str, &[&str]); 4] = [
    ("redis.get(", &["get"]),
    (".send(\"SET\"", &["set"]),
    (".publish(&keys::", &["spublish"]),
    (".subscribe(&keys::", &["ssubscribe", "sunsubscribe"]),
];

/// What scripts call of the server, not of a key.
const OF_THE_SERVER: [&str; 1] = ["time"];

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (owner, keys) in owners(tree) {
        let areas: Vec<&Area> = AREAS.iter().filter(|area| belongs(area, &keys)).collect();
        let told: BTreeSet<String> = areas.iter().flat_map(|area| commands(area)).collect();
        let called = called(tree, &owner);
        let missing =
            called.difference(&told).map(|command| format!("{owner} calls {command}: let its area have it"));
        complaints.extend(missing);
        for area in areas {
            let idle = commands(area).into_iter().filter(|command| !called.contains(command));
            complaints.extend(
                idle.map(|command| {
                    format!("nothing in {owner} calls {command}: take it from `{}`", area.name)
                }),
            );
        }
    }
    let all: String = owners(tree).into_values().collect();
    let strange = AREAS.iter().filter(|area| !concerns_the_server(area) && !belongs(area, &all));
    complaints.extend(strange.map(|area| format!("no keys.rs builds all names of `{}`", area.name)));
    complaints.into_iter().map(|complaint| format!("crates/redis-acl/src/table.rs: {complaint}")).collect()
}

/// Each crate with keys, and the services with what all of them do through redis-core as one, with the text of their `keys.rs`.
fn owners(tree: &Tree) -> BTreeMap<String, String> {
    let mut owners = BTreeMap::<_, String>::new();
    for file in tree.ending("/src/keys.rs") {
        owners.entry(owner(file)).or_default().push_str(without_tests(file));
    }
    owners
}

fn owner(file: &File) -> String {
    let is_of_all = file.is_in("services/") || file.package() == "crates/redis-core";
    if is_of_all { "services".to_owned() } else { file.package().to_owned() }
}

fn without_tests(file: &File) -> &str {
    file.text.split("#[cfg(test)]").next().unwrap_or_default()
}

fn belongs(area: &Area, keys: &str) -> bool {
    let mut patterns = area.keys.iter().chain(area.channels);
    !concerns_the_server(area)
        && patterns.all(|pattern| keys.contains(&format!("\"{}", pattern.trim_end_matches('*'))))
}

fn concerns_the_server(area: &Area) -> bool {
    area.keys.is_empty() && area.channels.is_empty()
}

fn commands(area: &Area) -> BTreeSet<String> {
    area.reads.iter().chain(area.writes).map(|command| (*command).to_owned()).collect()
}

/// What the scripts and the methods of an owner send.
fn called(tree: &Tree, owner_of: &str) -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    // The Lua of redis-core is a part of the scripts of others.
    let is_script = |file: &&File| owner(file) == owner_of && file.package() != "crates/redis-core";
    for file in tree.ending(".lua").filter(is_script) {
        called.extend(["eval", "evalsha"].map(str::to_owned));
        called.extend(
            lua::commands(&lua::without_comments(&file.text))
                .into_iter()
                .map(|(name, _)| name.to_lowercase()),
        );
    }
    for file in tree.ending(".rs").filter(|file| file.path.contains("/src/") && owner(file) == owner_of) {
        let code = without_tests(file);
        let named = code.split(".command(\"").skip(1).filter_map(|rest| rest.split('"').next());
        called.extend(named.map(str::to_lowercase));
        for (_, commands) in METHODS.iter().filter(|(call, _)| code.contains(call)) {
            called.extend(commands.iter().map(|command| (*command).to_owned()));
        }
    }
    called.retain(|command| !OF_THE_SERVER.contains(&command.as_str()));
    called
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The repository with one replacement in one file.
    fn doctored(path: &str, before: &str, after: &str) -> Vec<String> {
        let tree = Tree::read();
        let kept = [".lua", ".rs"].into_iter().flat_map(|end| tree.ending(end));
        let texts: Vec<_> = kept
            .map(|file| {
                let is_it = file.path == path;
                assert!(!is_it || file.text.contains(before), "{path} has no {before:?}");
                let text = if is_it { file.text.replace(before, after) } else { file.text.clone() };
                (file.path.clone(), text)
            })
            .collect();
        complaints(&Tree::of(
            &texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>(),
        ))
    }

    #[test]
    fn a_call_without_a_right_and_a_right_without_a_call_are_reported() {
        for (path, before, after, complaint) in [
            ("crates/queue/src/scripts/cancel.lua", "'HGET'", "'HSCAN'", "crates/queue calls hscan"),
            (
                "crates/queue/src/scripts/stats.lua",
                "'LINDEX'",
                "'LRANGE'",
                "nothing in crates/queue calls lindex",
            ),
            (
                "crates/progress/src/operations.rs",
                "\"ZRANGE\"",
                "\"ZREM\"",
                "nothing in crates/progress calls zrange",
            ),
            ("crates/cache/src/cache.rs", "command(\"SET\"", "command(\"SETEX\"", "crates/cache calls setex"),
            ("services/sluice/src/keys.rs", "\"HDEL\"", "\"UNLINK\"", "nothing in services calls hdel"),
            (
                "crates/ratelimit/src/keys.rs",
                "\"rl:{resets}\"",
                "\"rl:{other}\"",
                "no keys.rs builds all names of `rate limits`",
            ),
        ] {
            let found = doctored(path, before, after);
            assert!(
                complaint.is_empty() || found.iter().any(|text| text.contains(complaint)),
                "{complaint}: {found:?}"
            );
        }
    }
}

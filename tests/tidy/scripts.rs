//! A script's header says what the script does: keys, arguments, flags, derived keys.

use std::collections::BTreeSet;

use crate::lua::{
    Header, commands, has_word, hash_tag, indices, is_script, key_names, reachable, shared_file,
};
use crate::tree::{File, Tree};

const FLAGS: [&str; 3] = ["no-writes", "allow-oom", "allow-stale"];
const KINDS: [&str; 7] = ["string", "hash", "list", "zset", "set", "prefix", "none"];
/// Commands that change nothing and tell nobody; a publish counts as a write for Redis.
const READS: [&str; 40] = [
    "BITCOUNT",
    "EXISTS",
    "EXPIRETIME",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HSTRLEN",
    "HVALS",
    "LINDEX",
    "LLEN",
    "LRANGE",
    "MEMORY",
    "MGET",
    "OBJECT",
    "PEXPIRETIME",
    "PTTL",
    "SCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "STRLEN",
    "TIME",
    "TTL",
    "TYPE",
    "ZCARD",
    "ZCOUNT",
    "ZMSCORE",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZREVRANK",
    "ZSCORE",
];
/// What no script does: walks the whole server, or waits.
const NEVER: [&str; 9] =
    ["SCAN", "KEYS", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "SELECT", "BLPOP", "BZPOPMIN", "LPOS"];
/// Their second word is a subcommand.
const WITH_SUBCOMMAND: [&str; 2] = ["MEMORY", "OBJECT"];

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let files = tree.ending(".lua").filter(|file| file.path.contains("/scripts/"));
    files
        .flat_map(|file| {
            let found = if is_script(file) { of_script(tree, file) } else { of_shared(file) };
            found.into_iter().map(|what| format!("{}: {what}", file.path))
        })
        .collect()
}

/// A file that scripts share has no header but its first line; one with a header has lost its shebang.
fn of_shared(file: &File) -> Vec<String> {
    let name = file.name();
    let begins = |with: &str| file.text.starts_with(&format!("-- {name}{with}"));
    let has_header = file.text.lines().any(|line| line.starts_with("-- KEYS["));
    if (begins(": ") || begins(" (shared): ")) && !has_header {
        return Vec::new();
    }
    vec![format!("begin with `#!lua` (a script) or with `-- {name}: <what it shares>` and no header")]
}

fn of_script(tree: &Tree, file: &File) -> Vec<String> {
    let header = Header::of(file);
    let mut complaints = shape(file, &header);
    let mut shared = Vec::new();
    for name in &header.shared {
        match shared_file(tree, file.package(), name) {
            Some(found) => shared.push(found),
            None => complaints.push(format!("Shared names {name}, which is no shared file of this crate")),
        }
    }
    let code = reachable(file, &shared);
    complaints.extend(keys(&header, &code));
    complaints.extend(arguments(&header, &code));
    complaints.extend(flags(&header, &code));
    complaints.extend(derived(tree, file, &header, &code));
    let needs_clock = ["clock_ms", "clock_us", "next_stamp"].iter().any(|name| has_word(&code, name));
    if needs_clock != header.shared.iter().any(|name| name == "clock.lua") {
        complaints.push("name clock.lua in Shared exactly when the clock is read".to_owned());
    }
    complaints
}

/// The lines that every header has, and what they look like.
fn shape(file: &File, header: &Header) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut lines = file.text.lines();
    let shebang = lines.next().unwrap_or_default();
    let is_known = |flag: &String| FLAGS.contains(&flag.as_str());
    if !(shebang == "#!lua" || shebang.starts_with("#!lua flags=") && header.flags.iter().all(is_known)) {
        complaints.push(format!("its first line is `#!lua` or `#!lua flags=…` of {}", FLAGS.join(", ")));
    }
    if !lines.next().unwrap_or_default().starts_with(&format!("-- {}: ", file.name())) {
        complaints.push(format!("its second line is `-- {}: <what it does>`", file.name()));
    }
    for (name, line) in [("ARGV", &header.arguments), ("Returns", &header.returns), ("Cost", &header.cost)] {
        if line.as_ref().is_none_or(String::is_empty) {
            complaints.push(format!("the header has no {name}"));
        }
    }
    let mut tags = BTreeSet::new();
    for (expected, key) in (1..).zip(&header.keys) {
        if key.index != expected || key.is_open && expected != header.keys.len() {
            complaints.push(format!("KEYS[{}] is out of order", key.index));
        }
        if !KINDS.contains(&key.kind.as_str()) {
            complaints.push(format!("KEYS[{expected}] has no type: one of {}", KINDS.join(", ")));
        }
        tags.insert(hash_tag(&key.pattern));
    }
    if header.keys.is_empty() {
        complaints.push("the header names no KEYS".to_owned());
    }
    if tags.len() > 1 || tags.contains(&None) && header.keys.len() > 1 {
        complaints.push("its keys do not share one hash tag, so they lie in several slots".to_owned());
    }
    complaints
}

fn keys(header: &Header, code: &str) -> Vec<String> {
    let (used, is_dynamic) = indices(code, "KEYS");
    let is_declared = |index: &usize| {
        header.keys.iter().any(|key| key.index == *index || key.is_open && key.index <= *index)
    };
    let undeclared = used.iter().filter(|index| !is_declared(index));
    let mut complaints: Vec<String> =
        undeclared.map(|index| format!("KEYS[{index}] is used and not in the header")).collect();
    for key in &header.keys {
        let is_used = if key.is_open { is_dynamic } else { used.contains(&key.index) };
        if !is_used && !is_dynamic {
            complaints.push(format!("KEYS[{}] is in the header and not used", key.index));
        }
    }
    for (command, first) in commands(code) {
        let is_text = first.starts_with('"') && !WITH_SUBCOMMAND.contains(&command.as_str());
        if is_text || first.starts_with("ARGV[") {
            complaints.push(format!("{command} gets a key that did not come through KEYS: {first}"));
        }
    }
    complaints
}

fn arguments(header: &Header, code: &str) -> Vec<String> {
    let (mut used, is_dynamic) = indices(code, "ARGV");
    // The clock, which the shared file reads; every script gets it.
    used.remove(&1);
    let (named, open) = header.argument_indices();
    let text = header.arguments.as_deref().unwrap_or_default();
    let mut complaints = Vec::new();
    if header.is_per_item() {
        let fixed: Vec<_> = used.iter().map(|index| format!("ARGV[{index}]")).collect();
        if !fixed.is_empty() {
            complaints.push(format!("its arguments are per item, and it uses {}", fixed.join(", ")));
        }
        return complaints;
    }
    if named.contains(&1) && !(text.contains("[1] now_ms") || text.contains("[1] the clock")) {
        complaints.push("ARGV[1] is always the clock: `[1] now_ms or ''`".to_owned());
    }
    for index in used.iter().filter(|index| !named.contains(index) && open.is_none_or(|open| **index < open))
    {
        complaints.push(format!("ARGV[{index}] is used and not in the header"));
    }
    for index in named.iter().filter(|index| **index > 1 && !used.contains(index) && !is_dynamic) {
        complaints.push(format!("ARGV[{index}] is in the header and not used"));
    }
    complaints
}

fn flags(header: &Header, code: &str) -> Vec<String> {
    let has = |flag: &str| header.flags.iter().any(|found| found == flag);
    let found = commands(code);
    let mut writes = found.iter().map(|(name, _)| name.as_str()).filter(|name| !READS.contains(name));
    let mut complaints = Vec::new();
    match writes.next() {
        Some(write) if has("no-writes") => complaints.push(format!("it says no-writes and calls {write}")),
        None if !has("no-writes") => complaints.push("it writes nothing: say `flags=no-writes`".to_owned()),
        _ => {}
    }
    if has("no-writes") && has("allow-oom") {
        complaints.push("no-writes implies allow-oom: say one of them".to_owned());
    }
    for (name, _) in found.iter().filter(|(name, _)| NEVER.contains(&name.as_str())) {
        complaints.push(format!("no script calls {name}: its cost or its wait has no bound"));
    }
    complaints
}

/// A key that is put together from a declared one is listed, in the same hash tag.
fn derived(tree: &Tree, file: &File, header: &Header, code: &str) -> Vec<String> {
    let joins_name = key_names(code).iter().any(|name| {
        code.match_indices(&format!("{name} ..")).any(|(at, _)| {
            has_word(&code[at..at + name.len()], name) && {
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
            }
        })
    });
    let joins_key = code.match_indices("KEYS[").any(|(at, _)| {
        code[at..].split_once(']').is_some_and(|(_, rest)| rest.trim_start().starts_with(".."))
    });
    let mut complaints = Vec::new();
    let Some(derives) = &header.derives else {
        if joins_name || joins_key {
            complaints
                .push("it puts keys together from KEYS: list their patterns, `-- Derives  …`".to_owned());
        }
        return complaints;
    };
    if !joins_name && !joins_key {
        complaints.push("it says Derives and puts no key together".to_owned());
    }
    let tag = header.keys.first().and_then(|key| hash_tag(&key.pattern));
    for word in derives.split([' ', '\n', ',']) {
        if word.contains('{') && hash_tag(word) != tag {
            complaints.push(format!("{word} lies in another slot than KEYS[1]"));
        }
        let sibling = file.path.replace(file.name(), word);
        if word.ends_with(".lua") && tree.get(&sibling).is_none() {
            complaints.push(format!("Derives refers to {word}, which is not there"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#!lua flags=allow-oom
-- ack.lua: complete one leased task. May run on a full Redis: it frees.
-- Shared: clock.lua
-- KEYS[1]  queue:{Q}:leases     hash  number -> token
-- KEYS[2]  queue:{Q}:deadlines  zset  number -> end, ms
-- Derives  queue:{Q}:leases:<n>  list  what it held
-- ARGV     [1] now_ms or ''  [2] number
-- Returns  'ok' | 'gone'
-- Cost     O(log leased)
local leases, deadlines = KEYS[1], KEYS[2]
if clock_ms() > 0 then redis.call('ZREM', deadlines, ARGV[2]) end
redis.call('DEL', leases .. ':' .. ARGV[2])
return redis.call('HDEL', leases, ARGV[2]) == 1 and 'ok' or 'gone'
";
    const CLOCK: (&str, &str) = (
        "crates/redis-core/src/scripts/clock.lua",
        "-- clock.lua: time.\nlocal function clock_ms() return 1 end\n",
    );

    fn ask(text: &str) -> Vec<String> {
        complaints(&Tree::of(&[("crates/queue/src/scripts/ack.lua", text), CLOCK]))
    }

    #[test]
    fn a_header_that_lies_is_reported() {
        assert_eq!(ask(GOOD), Vec::<String>::new());
        for (from, to, why) in [
            ("#!lua flags=allow-oom\n", "", "no shebang: neither script nor shared file"),
            ("flags=allow-oom", "flags=allow-all", "an unknown flag"),
            ("-- ack.lua: ", "-- nack.lua: ", "another name"),
            ("-- Returns  'ok' | 'gone'\n", "", "no answer"),
            ("-- Cost     O(log leased)\n", "", "no cost"),
            ("KEYS[2]  queue", "KEYS[3]  queue", "numbers with a gap, and KEYS[2] not declared"),
            ("-- KEYS[2]  queue:{Q}:deadlines  zset  number -> end, ms\n", "", "a key less"),
            ("  zset  number", "  tree  number", "an unknown type"),
            ("KEYS[2]  queue:{Q}", "KEYS[2]  queue:{R}", "another slot"),
            (
                "redis.call('ZREM', deadlines, ARGV[2])",
                "redis.call('ZREM', leases, ARGV[3])",
                "an argument more",
            ),
            ("KEYS[1], KEYS[2]", "KEYS[1], KEYS[1]", "a key that is not used"),
            ("[2] number", "[2] number  [3] token", "an argument that is not used"),
            ("[1] now_ms or ''", "[1] queue", "the clock's place taken"),
            (
                "-- Derives  queue:{Q}:leases:<n>  list  what it held\n",
                "",
                "a derived key that is not listed",
            ),
            ("'DEL', leases .. ':' .. ARGV[2]", "'DEL', leases", "a listed key that is not derived"),
            ("Derives  queue:{Q}", "Derives  queue:{R}", "a derived key in another slot"),
            ("'DEL', leases .. ':' .. ARGV[2]", "'DEL', 'x', leases .. ':'", "a key from nowhere"),
            ("'DEL', leases .. ':' .. ARGV[2]", "'DEL', ARGV[2], leases .. ':'", "a key from an argument"),
            ("flags=allow-oom", "flags=no-writes", "a read that writes"),
            ("'ZREM'", "'LPOS'", "a cost without bound"),
            ("clock.lua\n", "clock.lua other.lua\n", "a shared file that is not there"),
            ("-- Shared: clock.lua\n", "", "the clock without its file"),
            ("clock_ms() > 0", "true", "the file of the clock without a clock"),
        ] {
            assert!(GOOD.contains(from), "{why}");
            assert!(!ask(&GOOD.replacen(from, to, 1)).is_empty(), "{why}");
        }
    }

    #[test]
    fn a_script_that_only_reads_says_so() {
        let reads = "#!lua flags=no-writes\n-- ack.lua: look.\n-- KEYS[1]  a:{A}  hash  what\n-- ARGV     none but the clock\n\
            -- Returns  a number\n-- Cost     O(1)\nreturn redis.call('HLEN', KEYS[1])\n";
        assert_eq!(ask(reads), Vec::<String>::new());
        assert_eq!(ask(&reads.replace(" flags=no-writes", "")).len(), 1);
        assert_eq!(ask(&reads.replace("no-writes", "no-writes,allow-oom")).len(), 1);
    }

    #[test]
    fn arguments_per_item_are_not_taken_by_a_fixed_number() {
        let each = "#!lua\n-- ack.lua: each.\n-- KEYS[1]  a:{A}  list  what\n-- ARGV     per item: [1] value  [2] other\n\
            -- Returns  per item: a number\n-- Cost     O(items)\nlocal answers = {}\n\
            for at = 2, #ARGV, 2 do answers[#answers + 1] = redis.call('RPUSH', KEYS[1], ARGV[at], ARGV[at + 1]) end\n\
            return answers\n";
        assert_eq!(ask(each), Vec::<String>::new());
        assert_eq!(ask(&each.replace("ARGV[at + 1]", "ARGV[3]")).len(), 1);
    }

    #[test]
    fn several_keys_may_stand_in_one_line() {
        let all = "#!lua\n-- ack.lua: all.\n-- KEYS[1]   a:{A}  string  what\n-- KEYS[2..] a:{A}:<n>  string  what\n\
            -- ARGV     none but the clock\n-- Returns  'ok'\n-- Cost     O(keys)\n\
            redis.call('SET', KEYS[1], '1')\nfor i = 2, #KEYS do redis.call('DEL', KEYS[i]) end\nreturn 'ok'\n";
        assert_eq!(ask(all), Vec::<String>::new());
        let without = all.replace("for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end\n", "");
        assert_eq!(ask(&without).len(), 1, "never used");
    }
}

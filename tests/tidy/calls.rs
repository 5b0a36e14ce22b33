//! Rust knows each script once, under its file's name, and calls it as its header says.

use crate::lua::{Header, is_script};
use crate::rust::{Call, arguments, calls, code, line};
use crate::tree::{File, Tree};

/// `static ACK: LazyLock<Script> = … Script::new("ack", &[CLOCK_LUA], include_str!("scripts/ack.lua"))`.
#[derive(Debug)]
struct Known {
    place: String,
    package: String,
    constant: String,
    name: String,
    /// Arguments per item, for a batched one.
    width: Option<usize>,
    shared: Result<Vec<String>, String>,
    path: Option<String>,
}

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let sources = || {
        tree.ending(".rs").filter(|file| file.path.contains("/src/") && file.package() != "crates/redis-core")
    };
    let known: Vec<Known> = sources().flat_map(|file| known_in(tree, file)).collect();
    let mut complaints: Vec<String> = known.iter().flat_map(|known| of_known(tree, known)).collect();
    let lua = || tree.ending(".lua").filter(|file| file.path.contains("/scripts/"));
    for file in lua().filter(|file| is_script(file)) {
        let count = known.iter().filter(|known| known.path.as_deref() == Some(file.path.as_str())).count();
        if count != 1 {
            complaints.push(format!("{}: {count} `Script::new` of it: one script, one place", file.path));
        }
    }
    for file in lua().filter(|file| !is_script(file)) {
        let end = file.path.split_once("/src/").map_or("", |(_, end)| end);
        let is_included = |source: &&File| {
            source.package() == file.package() && source.text.contains(&format!("include_str!(\"{end}\")"))
        };
        if !tree.ending(".rs").any(|source| is_included(&source)) {
            complaints.push(format!("{}: no Rust file includes it", file.path));
        }
    }
    complaints.extend(sources().flat_map(|file| of_runs(tree, &known, file)));
    complaints
}

fn known_in(tree: &Tree, file: &File) -> Vec<Known> {
    let code = code(&file.text);
    let new = calls(&code, "Script::new(").into_iter().map(|call| (call, false));
    let batched = calls(&code, "Script::batched(").into_iter().map(|call| (call, true));
    let known = |(call, is_batched): (Call, bool)| {
        let argument = |at: usize| call.arguments.get(at).cloned().unwrap_or_default();
        let before = &code[..call.at];
        let constant =
            before.rsplit_once("static ").and_then(|(_, rest)| rest.split(':').next()).unwrap_or_default();
        let list = argument(1 + usize::from(is_batched));
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let included = call.arguments.last().and_then(|last| included(last));
        Known {
            place: format!("{}:{}", file.path, line(&code, call.at)),
            package: file.package().to_owned(),
            constant: constant.to_owned(),
            name: argument(0).trim_matches('"').to_owned(),
            width: is_batched.then(|| argument(1).parse().unwrap_or(0)),
            shared: shared_files(tree, file, before, &list),
            path: included.map(|path| format!("{folder}/{path}")),
        }
    };
    new.chain(batched).map(known).collect()
}

fn included(text: &str) -> Option<&str> {
    text.split_once("include_str!(\"")?.1.split_once('"').map(|(path, _)| path)
}

/// `&[CLOCK_LUA, NAMES]` or `&shared`, as names of files.
fn shared_files(tree: &Tree, file: &File, before: &str, list: &str) -> Result<Vec<String>, String> {
    let inside = match list.strip_prefix("&[") {
        Some(inside) => inside,
        None => {
            let name = list.trim_start_matches('&');
            let found = before.rsplit_once(&format!("let {name} = ["));
            found.ok_or_else(|| format!("`{list}` cannot be read: write the list here"))?.1
        }
    };
    arguments(inside).iter().map(|constant| shared_file(tree, file, constant)).collect()
}

fn shared_file(tree: &Tree, file: &File, constant: &str) -> Result<String, String> {
    let constant = constant.rsplit("::").next().unwrap_or(constant);
    let declaration = format!("const {constant}: &str = ");
    let sources = tree
        .ending(".rs")
        .filter(|source| source.package() == file.package() || source.package() == "crates/redis-core");
    let path = sources
        .filter_map(|source| source.text.split_once(&declaration))
        .find_map(|(_, rest)| included(rest.split(';').next().unwrap_or_default()));
    let path = path.ok_or_else(|| format!("{constant} is not `const {constant}: &str = include_str!(…)`"))?;
    Ok(path.rsplit('/').next().unwrap_or(path).to_owned())
}

fn of_known(tree: &Tree, known: &Known) -> Vec<String> {
    let complain = |what: String| vec![format!("{}: {what}", known.place)];
    let Some(path) = &known.path else {
        return complain("a script is a file: `include_str!(\"scripts/….lua\")`".to_owned());
    };
    let Some(file) = tree.get(path) else { return complain(format!("{path} is not there")) };
    let header = Header::of(file);
    let mut complaints = Vec::new();
    if file.name() != format!("{}.lua", known.name) {
        complaints.extend(complain(format!("{} is called {:?} here", file.name(), known.name)));
    }
    match &known.shared {
        Err(why) => complaints.extend(complain(why.clone())),
        Ok(shared) if *shared != header.shared => {
            let (here, there) = (shared.join(", "), header.shared.join(", "));
            complaints
                .extend(complain(format!("{} is given {here}; its header says Shared {there}", known.name)));
        }
        Ok(_) => {}
    }
    if header.is_per_item() {
        let (named, open) = header.argument_indices();
        let widest = named.last().copied();
        if let (Some(width), Some(widest), None) = (known.width, widest, open)
            && width != widest
        {
            complaints
                .extend(complain(format!("{} takes {widest} arguments an item, not {width}", known.name)));
        }
    } else if known.width.is_some() {
        complaints.extend(complain(format!("{} is batched, so its ARGV are per item", known.name)));
    }
    complaints
}

/// The number of keys, where the list stands in the call itself.
fn of_runs(tree: &Tree, known: &[Known], file: &File) -> Vec<String> {
    let code = code(&file.text);
    let all = [".run(", ".run_within(", ".batch("].into_iter().flat_map(|name| calls(&code, name));
    let complaint = |call: Call| {
        let at = call.arguments.iter().position(|argument| named(known, file, argument).is_some())?;
        let script = named(known, file, &call.arguments[at])?;
        let header = Header::of(tree.get(script.path.as_ref()?)?);
        let given = arguments(call.arguments.get(at + 1)?.strip_prefix("&[")?).len();
        let fixed = header.keys.iter().filter(|key| !key.is_open).count();
        let fits = if fixed < header.keys.len() { given >= fixed } else { given == fixed };
        let place = format!("{}:{}", file.path, line(&code, call.at));
        (!fits).then(|| format!("{place}: {} takes {fixed} keys, not {given}", script.name))
    };
    all.filter_map(complaint).collect()
}

/// The script that `&scripts::ACK` means.
fn named<'a>(known: &'a [Known], file: &File, argument: &str) -> Option<&'a Known> {
    let constant = argument.strip_prefix('&')?.rsplit("::").next()?;
    let mut meant =
        known.iter().filter(|known| known.package == file.package() && known.constant == constant);
    meant.next().filter(|_| meant.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: &str = "#!lua\n-- ack.lua: end.\n-- Shared: clock.lua names.lua\n-- KEYS[1]  q:{Q}:a  hash  x\n\
        -- KEYS[2]  q:{Q}:b  hash  x\n-- ARGV     per item: [1] number  [2] token\n";
    const RUST: &str = "const NAMES: &str = include_str!(\"scripts/shared/names.lua\");\n\
        static ACK: LazyLock<Script> = LazyLock::new(|| {\n    let shared = [CLOCK_LUA, NAMES];\n    \
        Script::batched(\"ack\", 2, &shared, include_str!(\"scripts/ack.lua\"))\n});\n\
        fn ack() { redis.batch(&ACK, &[keys::a(1, 2), keys::b()], vec![]) }\n";

    fn ask(rust: &str, ack: &str) -> Vec<String> {
        complaints(&Tree::of(&[
            ("crates/queue/src/scripts.rs", rust),
            ("crates/queue/src/scripts/ack.lua", ack),
            ("crates/queue/src/scripts/shared/names.lua", "-- names.lua: keys.\n"),
            (
                "crates/redis-core/src/lib.rs",
                "pub const CLOCK_LUA: &str = include_str!(\"scripts/clock.lua\");",
            ),
            ("crates/redis-core/src/scripts/clock.lua", "-- clock.lua: time.\n"),
        ]))
    }

    #[test]
    fn a_call_that_does_not_fit_its_script_is_reported() {
        assert_eq!(ask(RUST, ACK), Vec::<String>::new());
        let listed = RUST.replace("&shared", "&[redis_core::CLOCK_LUA, NAMES]");
        assert_eq!(ask(&listed, ACK), Vec::<String>::new());
        for (from, to, why) in [
            ("\"ack\"", "\"nack\"", "another name"),
            ("\"ack\", 2", "\"ack\", 3", "another width"),
            ("[CLOCK_LUA, NAMES]", "[NAMES, CLOCK_LUA]", "another order"),
            ("[CLOCK_LUA, NAMES]", "[CLOCK_LUA]", "a shared file less"),
            ("[CLOCK_LUA, NAMES]", "[CLOCK_LUA, OTHER]", "an unknown shared file"),
            ("let shared", "let others", "a list that cannot be read"),
            ("scripts/ack.lua", "scripts/nack.lua", "no file; and a script that nobody knows"),
            ("include_str!(\"scripts/ack.lua\")", "\"#!lua\"", "a script that is no file"),
            (", keys::b()]", "]", "a key less"),
            (
                "const NAMES: &str = include_str!(\"scripts/shared/names.lua\");\n",
                "",
                "a shared file that nobody includes",
            ),
        ] {
            assert!(RUST.contains(from), "{why}");
            assert!(!ask(&RUST.replace(from, to), ACK).is_empty(), "{why}");
        }
        let twice = format!(
            "{RUST}static B: X = Script::batched(\"ack\", 2, &[CLOCK_LUA, NAMES], include_str!(\"scripts/ack.lua\"));"
        );
        assert!(!ask(&twice, ACK).is_empty(), "known twice");
        assert!(
            !ask(RUST, &ACK.replace("per item: [1] number  [2]", "[2] number  [3]")).is_empty(),
            "not per item"
        );
    }
}

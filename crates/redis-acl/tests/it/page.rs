//! What is made from the data: the tables of `docs/security.md`, and a label in `docker-compose.yml`.

use data_encoding::HEXLOWER;
use redis_acl::{AREAS, Area, Right, User, acl_file};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str =
    "<!-- made from crates/redis-acl/src/table.rs: SLUICE_WRITE_DOCS=1 cargo test -p sluice-redis-acl -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_page_shows_what_holds() {
    require("docs/security.md", BEGIN, &tables(), END);
}

/// An update that changes the list makes the container of Redis anew, which then loads it.
#[test]
fn the_container_of_redis_has_the_sum_of_the_list() {
    let sum = Sha256::digest(acl_file(|_| String::new()));
    require("docker-compose.yml", "labels: { sluice.access: \"", &HEXLOWER.encode(&sum[..4]), "\" }");
}

/// Between these texts of the file stands that one; with `SLUICE_WRITE_DOCS` it is put there.
fn require(file: &str, begin: &str, made: &str, end: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (shown, after) = rest.split_once(end).unwrap();
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, begin, made, end, after].concat()).unwrap();
    } else {
        assert!(shown == made, "{file} is old; `make docs` makes it anew");
    }
}

fn tables() -> String {
    let users = User::ALL.map(User::name);
    let mut text = format!("\n| area | {} |\n|---|{}\n", users.join(" | "), "---|".repeat(users.len()));
    for area in AREAS {
        let cells = User::ALL.map(|user| right(area, user));
        let _ = writeln!(text, "| {} | {} |", area.name, cells.join(" | "));
    }
    text.push_str("\n| area | keys | channels | reads by | writes by |\n|---|---|---|---|---|\n");
    for area in AREAS {
        let columns = [area.keys, area.channels, area.reads, area.writes].map(code);
        let _ = writeln!(text, "| {} | {} |", area.name, columns.join(" | "));
    }
    text.push('\n');
    text
}

fn right(area: &Area, user: User) -> &'static str {
    match area.users.iter().find(|(each, _)| *each == user) {
        Some((_, Right::Read)) => "r",
        Some((_, Right::Write)) => "w",
        Some((_, Right::Both)) => "rw",
        None => "–",
    }
}

/// In a cell, `|` would end it.
fn code(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{}`", word.replace('|', " "))).collect();
    if words.is_empty() { "–".to_owned() } else { words.join(" ") }
}

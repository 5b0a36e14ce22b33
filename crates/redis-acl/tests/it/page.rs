//! The tables of `docs/security.md`, made from the data.

use redis_acl::{AREAS, Area, Right, User};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str =
    "<!-- made from crates/redis-acl/src/table.rs: SLUICE_WRITE_DOCS=1 cargo test -p sluice-redis-acl -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_page_shows_what_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let tables = tables();

    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, BEGIN, &tables, END, after].concat()).unwrap();
    } else {
        assert!(
            shown == tables,
            "docs/security.md is old; make it anew:\nSLUICE_WRITE_DOCS=1 cargo test -p sluice-redis-acl"
        );
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

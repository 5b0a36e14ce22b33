//! `docs/configuration.md` is made from the types: keys, types and meanings from their source, defaults from their values.
//!
//! `SLUICE_WRITE_DOCS=1 cargo test -p sluice-tests --test configuration` makes it anew.
#![expect(clippy::unwrap_used, reason = "a test's helpers may, as the test itself")]

mod defaults;
mod page;
mod types;

use defaults::Value;
use page::Service;
use std::path::{Path, PathBuf};
use types::Types;

const BEGIN: &str =
    "<!-- made from the types: SLUICE_WRITE_DOCS=1 cargo test -p sluice-tests --test configuration -->\n";
const END: &str = "<!-- end -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn services() -> [Service; 4] {
    let service = |name, default: String| Service { name, default: Value::parse(&default) };
    [
        service("cache-api", format!("{:#?}", cache_api::Config::default())),
        service("ratelimit-gateway", format!("{:#?}", ratelimit_gateway::Config::default())),
        service("queue-worker", format!("{:#?}", queue_worker::Config::default())),
        service("progress-sse", format!("{:#?}", progress_sse::Config::default())),
    ]
}

/// What a table of named parts holds for each: `Debug` of an empty table shows nothing of it.
fn parts() -> Vec<(&'static str, Value)> {
    vec![("QueueConfig", Value::parse(&format!("{:#?}", queue_worker::QueueConfig::default())))]
}

#[test]
fn the_page_shows_every_setting_as_it_is() {
    let path = root().join("docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let tables = page::tables(&Types::read(&root()), &services(), &parts());

    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, BEGIN, &tables, END, after].concat()).unwrap();
    } else {
        let command = BEGIN.trim_start_matches("<!-- made from the types: ").trim_end_matches(" -->\n");
        assert!(shown == tables, "docs/configuration.md is old; make it anew:\n{command}");
    }
}

#[test]
fn every_setting_says_what_it_means_and_its_own_default() {
    let complaints = page::complaints(&Types::read(&root()), &services(), &parts());
    assert!(complaints.is_empty(), "{} to put right:\n{}\n", complaints.len(), complaints.join("\n"));
}

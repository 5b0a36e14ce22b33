//! What the tree promises about itself, read from its text: where arrows point, where keys are built, what
//! script headers say, where links lead.
//!
//! Each rule is a pure function from texts to complaints, and has a test on a doctored sample that it must
//! report. A complaint names the file and says what to do.
#![expect(clippy::unwrap_used, reason = "a test's helpers may, as the test itself")]

mod access;
mod arrows;
mod calls;
mod compose;
mod documents;
mod files;
mod keys;
mod lua;
mod manifests;
mod routes;
mod rust;
mod scripts;
mod tree;

use tree::Tree;

fn require(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} to put right:\n{}\n", complaints.len(), complaints.join("\n"));
}

#[test]
fn arrows_between_crates_point_one_way() {
    require(&arrows::complaints(&arrows::members()));
}

#[test]
fn versions_and_lints_stand_in_the_workspace() {
    require(&manifests::complaints(&Tree::read()));
}

#[test]
fn keys_are_built_in_keys_rs_only() {
    require(&keys::complaints(&Tree::read()));
}

#[test]
fn script_headers_say_what_the_scripts_do() {
    require(&scripts::complaints(&Tree::read()));
}

#[test]
fn redis_users_may_call_what_is_called_and_nothing_else() {
    require(&access::complaints(&Tree::read()));
}

#[test]
fn scripts_are_called_as_their_headers_say() {
    require(&calls::complaints(&Tree::read()));
}

#[test]
fn every_route_is_described() {
    require(&routes::complaints(&Tree::read()));
}

#[test]
fn links_in_documents_lead_somewhere() {
    require(&documents::dead_links(&Tree::read()));
}

#[test]
fn decision_records_are_numbered_and_listed() {
    require(&documents::decision_records(&Tree::read()));
}

#[test]
fn files_have_a_purpose_a_name_and_a_size() {
    require(&files::complaints(&Tree::read()));
}

#[test]
fn containers_have_what_they_are_promised_and_no_right_besides() {
    require(&compose::complaints(&Tree::read()));
}

/// A file that a binary carries has to be where its image is built.
#[test]
fn what_a_service_includes_is_in_the_build_context() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let context = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    let tree = Tree::read();
    let sources =
        tree.ending(".rs").filter(|file| file.path.starts_with("services/") && file.path.contains("/src/"));
    let carried: Vec<_> = sources
        .flat_map(|file| {
            file.text.split("include_str!(\"../../../").skip(1).filter_map(|rest| rest.split('"').next())
        })
        .collect();
    assert!(carried.contains(&"deploy/redis/redis.conf"), "{carried:?}");
    let allowed = |path: &&str| {
        context.lines().any(|line| line.strip_prefix('!').is_some_and(|it| path.starts_with(it)))
    };
    let missing: Vec<_> = carried
        .into_iter()
        .filter(|path| !allowed(path))
        .map(|path| format!(".dockerignore leaves out {path}"))
        .collect();
    require(&missing);
}

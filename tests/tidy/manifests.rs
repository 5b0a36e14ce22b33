//! Versions, lints and package data stand once, in the root `Cargo.toml`.

use toml::{Table, Value};

use crate::tree::{File, Tree};

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let members = tree.ending("/Cargo.toml");
    members
        .flat_map(|file| of_member(file).into_iter().map(|what| format!("{}: {what}", file.path)))
        .collect()
}

fn of_member(file: &File) -> Vec<String> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![error.to_string()],
    };
    // What the bench builds beside us is a workspace of its own: nothing of it comes near ours.
    if manifest.contains_key("workspace") {
        return Vec::new();
    }
    let inherits =
        |value: Option<&Value>| value.and_then(|value| value.get("workspace")) == Some(&Value::from(true));
    let mut complaints = Vec::new();
    if !manifest.get("lints").is_some_and(|lints| inherits(Some(lints))) {
        complaints.push("say `[lints] workspace = true`".to_owned());
    }
    for field in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits(manifest.get("package").and_then(|package| package.get(field))) {
            complaints.push(format!("say `{field}.workspace = true`"));
        }
    }
    for (name, dependency) in dependencies(&manifest) {
        if !inherits(Some(dependency)) {
            complaints.push(format!(
                "{name}: its version belongs into the root Cargo.toml, here `workspace = true`"
            ));
        }
    }
    complaints
}

/// Of all kinds, and of all targets.
fn dependencies(manifest: &Table) -> Vec<(&String, &Value)> {
    let mut found = Vec::new();
    for (section, content) in manifest {
        let Some(content) = content.as_table() else { continue };
        if section.ends_with("dependencies") {
            found.extend(content);
        }
        if section == "target" {
            found.extend(content.values().filter_map(Value::as_table).flat_map(dependencies));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = 'x'\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
        [lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n";

    #[test]
    fn a_version_that_is_not_inherited_is_reported() {
        let ask = |text: &str| complaints(&Tree::of(&[("crates/x/Cargo.toml", text)]));
        assert_eq!(ask(GOOD), Vec::<String>::new());
        assert_eq!(ask("[workspace]\n[package]\nname = 'x'\n"), Vec::<String>::new());
        for doctored in [
            GOOD.replace("serde.workspace = true", "serde = '1'"),
            GOOD.replace("serde.workspace = true", "serde = { path = '../serde' }"),
            GOOD.replace("[lints]\nworkspace = true\n", ""),
            GOOD.replace("edition.workspace = true", "edition = '2024'"),
            format!("{GOOD}[dev-dependencies]\nrand = '1'\n"),
            format!("{GOOD}[target.'cfg(unix)'.dependencies]\nrand = '1'\n"),
        ] {
            assert_eq!(ask(&doctored).len(), 1, "{doctored}");
        }
    }
}

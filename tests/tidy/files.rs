//! Files: what each is for, what it is called, how long it may be.

use crate::rust::code;
use crate::tree::{File, Tree};

/// Lines of code: blank ones, comments, and the tests at the end of a Rust file are not counted.
const LONGEST: usize = 450;

/// Longer on purpose, each with the reason: one idea or one table.
const LONG: [(&str, &str); 0] = [];

/// Names that say nothing about what is inside.
const NAMELESS: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let code = [".rs", ".lua", ".sh", ".py", ".js"].into_iter().flat_map(|end| tree.ending(end));
    code.flat_map(|file| of_file(file).into_iter().map(|what| format!("{}: {what}", file.path))).collect()
}

fn of_file(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = lines_of_code(file);
    if lines > LONGEST && !LONG.iter().any(|(path, _)| *path == file.path) {
        complaints.push(format!(
            "{lines} lines of code: look for a seam, or give the reason for its length in tests/tidy/files.rs"
        ));
    }
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    for part in parts.filter(|part| NAMELESS.contains(part)) {
        complaints.push(format!("`{part}` names nothing: say what it is about"));
    }
    if file.path.ends_with(".rs") {
        if !file.text.starts_with("//!") && !file.text.starts_with("#![doc = include_str!(") {
            complaints.push("its first line says what it is for: `//! …`".to_owned());
        }
        for name in NAMELESS {
            let module = format!("mod {name} {{");
            if file.text.lines().any(|line| line.trim_start().trim_start_matches("pub ").starts_with(&module))
            {
                complaints.push(format!("`{name}` names nothing: say what it is about"));
            }
        }
    }
    complaints
}

fn lines_of_code(file: &File) -> usize {
    let end = file.path.rsplit('.').next().unwrap_or_default();
    let comment = match end {
        "lua" => "--",
        "sh" | "py" => "#",
        _ => "//",
    };
    let text = if end == "rs" { code(&file.text) } else { file.text.clone() };
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(comment)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_purpose_name_or_measure_is_reported() {
        let long = format!("//! A.\n{}", "a();\n".repeat(LONGEST + 1));
        for (path, text, why) in [
            ("crates/a/src/b.rs", "use c;", "no purpose"),
            ("crates/a/src/utils.rs", "//! A.", "a file's name"),
            ("crates/a/src/common/b.rs", "//! A.", "a folder's name"),
            ("crates/a/src/b.rs", "//! A.\npub mod helpers {\n}", "a module's name"),
            ("crates/a/src/b.rs", &long, "too long"),
        ] {
            assert_eq!(complaints(&Tree::of(&[(path, text)])).len(), 1, "{why}");
        }
    }

    #[test]
    fn an_orderly_file_is_not() {
        for text in [
            "//! A.",
            "#![doc = include_str!(\"../README.md\")]",
            &format!("//! A.\n{}", "// B.\na();\n".repeat(LONGEST)),
        ] {
            assert_eq!(complaints(&Tree::of(&[("crates/a/src/b.rs", text)])), Vec::<String>::new());
        }
    }
}

//! Links of documents lead somewhere; decision records are numbered and listed.

use crate::tree::{File, Tree};

pub(crate) fn dead_links(tree: &Tree) -> Vec<String> {
    tree.ending(".md").flat_map(|file| dead_links_of(tree, file)).collect()
}

fn dead_links_of(tree: &Tree, file: &File) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let targets = links(&file.text);
    let relative = targets.iter().filter(|(_, target)| is_relative(target));
    let dead = relative.filter(|(_, target)| {
        let path = target.split(['#', '?']).next().unwrap_or_default();
        resolve(folder, path).is_none_or(|path| !tree.has(&path))
    });
    dead.map(|(line, target)| format!("{}:{line}: nothing is at {target}", file.path)).collect()
}

/// Not an address, not an anchor of the same page, not an item of rustdoc.
fn is_relative(target: &str) -> bool {
    !target.contains("://")
        && !target.contains("::")
        && !target.starts_with(['#', '/'])
        && !target.starts_with("mailto:")
}

/// `[text](target)` and `[text]: target`, with their lines; what stands in a code block or span is none.
fn links(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        let mut ends: Vec<&str> =
            prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        if let Some((label, target)) = prose.split_once("]: ").filter(|_| prose.starts_with('[')) {
            ends.extend((!label.contains(']')).then_some(target));
        }
        found.extend(
            ends.iter()
                .filter_map(|end| end.split_whitespace().next())
                .map(|end| (number + 1, end.to_owned())),
        );
    }
    found
}

/// The path from the root, or nothing when it leaves the repository.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `docs/adr/0001-….md` without a gap, each beginning with its number and named in the list.
pub(crate) fn decision_records(tree: &Tree) -> Vec<String> {
    let records: Vec<&File> =
        tree.ending(".md").filter(|file| file.is_in("docs/adr/") && file.name() != "README.md").collect();
    let list = tree.get("docs/adr/README.md").map_or("", |file| &file.text);
    let mut complaints = Vec::new();
    for (number, file) in (1..).zip(&records) {
        let expected = format!("{number:04}");
        if !file.name().starts_with(&format!("{expected}-")) {
            complaints.push(format!("{}: the next number is {expected}: no gap, no number twice", file.path));
        }
        let given = file.name().split('-').next().unwrap_or_default();
        if !file.text.starts_with(&format!("# {given} ")) {
            complaints.push(format!("{}: its first line is `# {given} <title>`", file.path));
        }
        if !list.contains(&format!("({})", file.name())) {
            complaints.push(format!("{}: list it in docs/adr/README.md", file.path));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_link_is_reported() {
        let text = "[a](b.md) [c](../README.md#d) [e](https://f.g) [h](#i) `[j](k)` [l](m.md)\n\
            ```\n[n](o)\n```\n[p]: q.md\n[r](crate::S) ![t](u/v.png \"w\")";
        let tree =
            Tree::of(&[("docs/x.md", text), ("docs/b.md", ""), ("README.md", ""), ("docs/u/v.png", "")]);

        let complaints = dead_links(&tree);

        assert_eq!(complaints, ["docs/x.md:1: nothing is at m.md", "docs/x.md:5: nothing is at q.md"]);
        assert_eq!(dead_links(&Tree::of(&[("a.md", "[b](../c.md)")])).len(), 1, "outside");
        assert_eq!(dead_links(&Tree::of(&[("a.md", "[b](docs)"), ("docs/c.md", "")])).len(), 0, "a folder");
    }

    #[test]
    fn a_record_out_of_number_or_list_is_reported() {
        let list = ("docs/adr/README.md", "[1](0001-a.md) [2](0002-b.md) [3](0003-c.md)");
        let (a, b) = (("docs/adr/0001-a.md", "# 0001 A"), ("docs/adr/0002-b.md", "# 0002 B"));
        let ask = |files: &[(&str, &str)]| decision_records(&Tree::of(files)).len();

        assert_eq!(ask(&[a, b, list]), 0);
        assert_eq!(ask(&[a, ("docs/adr/0003-c.md", "# 0003 C"), list]), 1, "a gap");
        assert_eq!(ask(&[a, ("docs/adr/0001-b.md", "# 0001 B"), list]), 2, "twice, and not listed");
        assert_eq!(ask(&[a, ("docs/adr/0002-b.md", "# 2 B"), list]), 1, "another first line");
        assert_eq!(ask(&[a, b, ("docs/adr/0003-d.md", "# 0003 D"), list]), 1, "not listed");
    }
}

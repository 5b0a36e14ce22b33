//! A script as its text tells it: the header, and which code a call of it can reach.

use std::collections::BTreeSet;

use crate::tree::{File, Tree};

/// One `KEYS[n]  pattern  type  what` line; `KEYS[n..]` stands for all that follow, too.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) index: usize,
    pub(crate) is_open: bool,
    pub(crate) pattern: String,
    pub(crate) kind: String,
}

/// What the comment at the top of a script says.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) flags: Vec<String>,
    pub(crate) keys: Vec<Key>,
    /// `None` where the line is missing; so are the others.
    pub(crate) arguments: Option<String>,
    pub(crate) returns: Option<String>,
    pub(crate) cost: Option<String>,
    pub(crate) derives: Option<String>,
    /// Files whose code Redis gets before the script's own, in this order.
    pub(crate) shared: Vec<String>,
}

/// Whether it is a script by itself, not a file that scripts share.
pub(crate) fn is_script(file: &File) -> bool {
    file.text.starts_with("#!")
}

impl Header {
    pub(crate) fn of(file: &File) -> Self {
        let mut header = Self::default();
        let mut lines = file.text.lines();
        let shebang = lines.next().unwrap_or_default();
        if let Some(flags) = shebang.split("flags=").nth(1) {
            header.flags = flags.trim().split(',').map(str::to_owned).collect();
        }
        let mut label = String::new();
        for line in lines.map_while(|line| line.strip_prefix("--")) {
            // A deep indent goes on with what the line before began.
            let goes_on = line.starts_with("  ");
            let line = line.trim();
            let first = line.split_whitespace().next().unwrap_or_default();
            if !goes_on {
                label = first.trim_end_matches(':').to_owned();
            }
            let rest = if goes_on { line } else { line[first.len()..].trim() };
            header.note(&label, rest, goes_on);
        }
        header
    }

    fn note(&mut self, label: &str, rest: &str, goes_on: bool) {
        let slot = match label {
            "ARGV" => &mut self.arguments,
            "Returns" => &mut self.returns,
            "Cost" => &mut self.cost,
            "Derives" => &mut self.derives,
            "Shared" => {
                let names = rest.split([' ', ',']).filter(|name| !name.is_empty());
                return self.shared.extend(names.map(str::to_owned));
            }
            label if label.starts_with("KEYS[") && !goes_on => return self.keys.extend(key(label, rest)),
            _ => return,
        };
        let text = slot.get_or_insert_default();
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(rest);
    }

    /// Whether `ARGV` counts within an item of a batch, not from the start.
    pub(crate) fn is_per_item(&self) -> bool {
        let text = self.arguments.as_deref().unwrap_or_default();
        text.split('[').next().unwrap_or_default().contains("item")
    }

    /// The indices that `ARGV` names, and the one from which on all are meant.
    pub(crate) fn argument_indices(&self) -> (BTreeSet<usize>, Option<usize>) {
        let text = self.arguments.as_deref().unwrap_or_default();
        let (mut named, mut open) = (BTreeSet::new(), None);
        for inside in
            text.split('[').skip(1).filter_map(|rest| rest.split_once(']').map(|(inside, _)| inside))
        {
            if let Ok(index) = inside.trim_end_matches('.').parse() {
                named.insert(index);
                if inside.ends_with("..") {
                    open = Some(index);
                }
            }
        }
        (named, open)
    }
}

/// `KEYS[4..]` and `project:{P}:<name>  string  packed entry`.
fn key(label: &str, rest: &str) -> Option<Key> {
    let index = label.strip_prefix("KEYS[")?.strip_suffix(']')?;
    let mut columns = rest.split("  ").map(str::trim).filter(|column| !column.is_empty());
    let pattern = columns.next().unwrap_or_default().to_owned();
    let kind =
        columns.next().and_then(|column| column.split_whitespace().next()).unwrap_or_default().to_owned();
    let is_open = index.ends_with("..");
    Some(Key { index: index.trim_end_matches('.').parse().ok()?, is_open, pattern, kind })
}

/// The hash tag of a key pattern, `Q` in `queue:{Q}:leases`.
pub(crate) fn hash_tag(pattern: &str) -> Option<&str> {
    pattern.split_once('{')?.1.split_once('}').map(|(tag, _)| tag)
}

/// The file that a script of this package means by `names.lua`: its own, or one of `redis-core`.
pub(crate) fn shared_file<'a>(tree: &'a Tree, package: &str, name: &str) -> Option<&'a File> {
    let is_it = |file: &&File| file.name() == name && !is_script(file);
    let own = tree.ending(".lua").filter(is_it).find(|file| file.package() == package);
    own.or_else(|| tree.ending(".lua").filter(is_it).find(|file| file.package() == "crates/redis-core"))
}

/// The code that a call of the script can reach: its own, what shared files do at once, and those of their
/// functions that are called. Comments are gone, texts are kept.
pub(crate) fn reachable(script: &File, shared: &[&File]) -> String {
    let mut functions = Vec::new();
    let mut reached = String::new();
    for file in shared.iter().copied().chain([script]) {
        for (name, text) in chunks(&without_comments(&file.text)) {
            match name {
                Some(name) => functions.push((name, text)),
                None => reached.push_str(&text),
            }
        }
    }
    loop {
        let (called, rest): (Vec<_>, Vec<_>) =
            functions.into_iter().partition(|(name, _)| has_word(&reached, name));
        if called.is_empty() {
            return reached;
        }
        called.iter().for_each(|(_, text)| reached.push_str(text));
        functions = rest;
    }
}

/// Top-level functions by name, and what stands between them.
fn chunks(code: &str) -> Vec<(Option<String>, String)> {
    let mut chunks: Vec<(Option<String>, String)> = vec![(None, String::new())];
    for line in code.lines() {
        if let Some(rest) = line.strip_prefix("local function ") {
            chunks.push((rest.split('(').next().map(str::to_owned), String::new()));
        }
        if let Some((_, text)) = chunks.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
        let is_whole = line.starts_with("local function ") && line.trim_end().ends_with(" end");
        if line.starts_with("end") || is_whole {
            chunks.push((None, String::new()));
        }
    }
    chunks
}

/// Code with its comments blanked; a `--` within quotes is none.
pub(crate) fn without_comments(text: &str) -> String {
    let strip = |line: &str| {
        let (mut quote, mut before) = (None, ' ');
        for (at, character) in line.char_indices() {
            match (quote, character) {
                (None, '\'' | '"') => quote = Some(character),
                (None, '-') if line[at..].starts_with("--") => return line[..at].to_owned(),
                (Some(open), close) if open == close && before != '\\' => quote = None,
                _ => {}
            }
            before = if before == '\\' { ' ' } else { character };
        }
        line.to_owned()
    };
    let lines = text.lines().map(|line| if line.starts_with("#!") { String::new() } else { strip(line) });
    lines.map(|line| line + "\n").collect()
}

/// Indices that stand as numbers in `KEYS[1]`, and whether the list is used in another way, too.
pub(crate) fn indices(code: &str, list: &str) -> (BTreeSet<usize>, bool) {
    let (mut fixed, mut is_dynamic) = (BTreeSet::new(), false);
    for (at, _) in code.match_indices(list) {
        let rest = &code[at + list.len()..];
        let inside = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
        match inside.and_then(|inside| inside.parse().ok()) {
            Some(index) => drop(fixed.insert(index)),
            None => is_dynamic = true,
        }
    }
    (fixed, is_dynamic)
}

/// The commands of `redis.call('X', …)` with what follows the comma.
pub(crate) fn commands(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for call in ["redis.call(", "redis.pcall("] {
        for (at, _) in code.match_indices(call) {
            let arguments = crate::rust::arguments(&code[at + call.len()..].replace('\'', "\""));
            let name = arguments.first().map_or("", |name| name.trim_matches('"'));
            found.push((name.to_uppercase(), arguments.get(1).cloned().unwrap_or_default()));
        }
    }
    found
}

/// Names that stand for a key: `local a, b = KEYS[1], KEYS[2]`.
pub(crate) fn key_names(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in code.lines().filter_map(|line| line.trim_start().strip_prefix("local ")) {
        let Some((names, values)) = line.split_once(" = ") else { continue };
        let pairs = names.split(',').zip(values.split(", "));
        let keys =
            pairs.filter(|(_, value)| value.trim().starts_with("KEYS[") && value.trim().ends_with(']'));
        found.extend(keys.map(|(name, _)| name.trim().to_owned()));
    }
    found
}

/// Whether an identifier occurs as a whole.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part)
            && !code[at + word.len()..].starts_with(|c: char| is_part(c) && c != '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_not_called_is_not_reached() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let shared = file(
            "b.lua",
            "local top = 1\nlocal function a()\n  b()\nend\nlocal function b() return 'B' end\n\
            local function c()\n  redis.call('C')\nend\n",
        );
        let code = reachable(&file("a.lua", "#!lua\n-- c()\nreturn a() -- c()\n"), &[&shared]);

        assert!(code.contains("return 'B'") && code.contains("local top"), "{code}");
        assert!(!code.contains("'C'"), "{code}");
    }

    #[test]
    fn a_header_is_read_with_its_continued_lines() {
        let header = Header::of(&File {
            path: "a.lua".to_owned(),
            text: "#!lua flags=allow-oom\n-- a.lua: does.\n-- Shared: b.lua, c.lua\n-- KEYS[1]   q:{Q}:x  hash  what\n\
                -- KEYS[2..] q:{Q}:<y>  list  what\n-- ARGV     [1] now_ms or ''\n--          [3..] z\n\
                -- Returns  'ok'\n-- Cost     O(1)\nlocal x = 1\n"
                .to_owned(),
        });
        assert_eq!(
            (&*header.flags, &*header.shared),
            (&["allow-oom".to_owned()][..], &["b.lua", "c.lua"].map(str::to_owned)[..])
        );
        assert_eq!(header.argument_indices(), (BTreeSet::from([1, 3]), Some(3)));
        assert_eq!(header.keys.len(), 2);
        assert!(
            header.keys[1].is_open && header.keys[1].kind == "list" && header.keys[1].pattern == "q:{Q}:<y>"
        );
        assert_eq!(hash_tag(&header.keys[0].pattern), Some("Q"));
        assert!(header.derives.is_none() && header.cost.as_deref() == Some("O(1)"));
    }
}

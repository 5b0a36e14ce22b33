//! The repository as texts.

use std::path::Path;

/// One text file; the path is relative to the root of the repository, with slashes.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The last part of the path, `ack.lua`.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// `crates/queue` for `crates/queue/src/lib.rs`; the first folder for what lies elsewhere.
    pub(crate) fn package(&self) -> &str {
        let depth = if self.is_in("crates/") || self.is_in("services/") { 2 } else { 1 };
        let end = self.path.match_indices('/').nth(depth - 1).map_or(self.path.len(), |(at, _)| at);
        &self.path[..end]
    }

    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// All of them, sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: Vec<File>,
    /// Everything that exists, folders and files that are no text included.
    paths: Vec<String>,
}

impl Tree {
    /// Reads the repository. Hidden folders and what tools make are left out.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut tree = Self::default();
        tree.add(root, "");
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    /// A doctored tree.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        Self { files: files.iter().map(file).collect(), paths }
    }

    /// Files whose names end so, `".rs"`.
    pub(crate) fn ending(&self, end: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.path.ends_with(end))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or folder of this path is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        let inside = |known: &String| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        path.is_empty() || self.paths.iter().any(|known| known == path || inside(known))
    }

    fn add(&mut self, folder: &Path, prefix: &str) {
        const TEXTS: [&str; 11] = ["rs", "lua", "md", "toml", "sh", "py", "js", "html", "yml", "css", "conf"];
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let (path, kind) = (format!("{prefix}{name}"), entry.file_type().unwrap());
            if kind.is_dir() {
                if !name.starts_with('.') && !["target", "node_modules", "__pycache__"].contains(&&*name) {
                    self.add(&entry.path(), &format!("{path}/"));
                }
            } else if name == "Dockerfile"
                || entry.path().extension().is_some_and(|end| TEXTS.iter().any(|text| end == *text))
            {
                let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
                self.files.push(File { path: path.clone(), text });
            }
            self.paths.push(path);
        }
    }
}

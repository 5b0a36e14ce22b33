//! Values by the text of their `Debug`, which is what `--check-config` prints.

use crate::types::snake;

/// A value, as far as a page needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// In one line, as Rust writes it.
    Plain(String),
    /// A struct with its fields.
    Fields(Vec<(String, Value)>),
}

impl Value {
    /// Reads what `{:#?}` wrote.
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let first = lines.next().unwrap_or_default();
        Self::begin(first, &mut lines)
    }

    fn begin<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> Self {
        let is_struct = first.ends_with(" {") || first == "{";
        if is_struct && first != "{" {
            let mut fields = Vec::new();
            while let Some(line) = lines.next().filter(|line| !line.starts_with('}')) {
                let Some((name, rest)) = line.split_once(": ") else { continue };
                fields.push((name.to_owned(), Self::begin(rest, lines)));
            }
            return Self::Fields(fields);
        }
        let mut text = first.trim_end_matches(',').to_owned();
        if first.ends_with(['(', '[', '{']) {
            let mut depth = 1;
            while depth > 0 {
                let Some(line) = lines.next() else { break };
                depth += usize::from(line.ends_with(['(', '[', '{']));
                depth -= usize::from(line.starts_with([')', ']', '}']));
                text.push_str(line.trim_end_matches(','));
            }
        }
        Self::Plain(text)
    }

    /// A field of a struct.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Fields(fields) => fields.iter().find(|(found, _)| found == name).map(|(_, value)| value),
            Self::Plain(_) => None,
        }
    }

    /// As somebody would write it in `sluice.toml`; none when nothing is set.
    pub(crate) fn written(&self) -> Option<String> {
        let Self::Plain(text) = self else { return None };
        let mut text = text.as_str();
        // `Some(x)`, and types of ours that are made of one value.
        while let Some((name, inside)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            if !name.chars().all(char::is_alphanumeric) {
                break;
            }
            text = inside;
        }
        let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match unquoted.unwrap_or(text) {
            "None" | "" | "{}" | "[]" => None,
            name if unquoted.is_none() && name.starts_with(char::is_uppercase) => Some(snake(name)),
            path if std::path::Path::new(path) == std::env::temp_dir() => Some("the system's".to_owned()),
            text => Some(text.to_owned()),
        }
    }
}

#[test]
fn a_value_is_found_by_its_field_however_deep() {
    let value = Value::parse(
        "Config {\n    http: HttpConfig {\n        workers: 0,\n        tls: TlsConfig {\n            cert_file: Some(\n                \"/a\",\n            ),\n        },\n    },\n    mode: NoKeys,\n    names: {},\n}",
    );
    let http = value.field("http").unwrap();
    assert_eq!(http.field("workers").unwrap().written().as_deref(), Some("0"));
    assert_eq!(http.field("tls").unwrap().field("cert_file").unwrap().written().as_deref(), Some("/a"));
    assert_eq!(value.field("mode").unwrap().written().as_deref(), Some("no_keys"));
    assert_eq!(value.field("names").unwrap().written(), None);
}

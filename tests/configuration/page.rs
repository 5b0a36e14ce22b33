//! The tables, and what is wrong with what they would say.

use crate::defaults::Value;
use crate::types::{Struct, Types};
use std::fmt::Write;

/// A service and what holds for it when nothing is set.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) default: Value,
}

/// A table of settings.
struct Section<'a> {
    name: String,
    read_by: Vec<&'static str>,
    fields: &'a Struct,
    default: Value,
}

/// One setting.
struct Setting {
    key: String,
    kind: String,
    /// None: its `Debug` does not show it.
    default: Option<Value>,
    meaning: String,
}

pub(crate) fn tables(types: &Types, services: &[Service], parts: &[(&str, Value)]) -> String {
    let mut text = String::new();
    for section in sections(types, services, parts) {
        let services = section.read_by.join(", ");
        let meaning = cell(&about(&section.fields.meaning));
        let _ = writeln!(
            text,
            "\n### `[{}]`\n\n{}",
            section.name,
            format!("Read by {services}. {meaning}").trim_end()
        );
        text.push_str("\n| key | type | default | environment | meaning |\n|---|---|---|---|---|\n");
        for Setting { key, kind, default, meaning } in settings(types, &section) {
            let default = default.and_then(|default| default.written());
            let default = default.map_or("–".to_owned(), |default| format!("`{default}`"));
            let variable = format!("SLUICE__{}", key.to_uppercase().replace('.', "__"));
            let (_, name) = key.rsplit_once('.').unwrap_or(("", &key));
            let meaning = cell(&meaning);
            let _ = writeln!(text, "| `{name}` | {kind} | {default} | `{variable}` | {meaning} |");
        }
    }
    text.push('\n');
    text
}

/// A setting without a meaning, one that `--check-config` would not print, and one whose text names another default.
pub(crate) fn complaints(types: &Types, services: &[Service], parts: &[(&str, Value)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for section in sections(types, services, parts) {
        for Setting { key, default, meaning, .. } in settings(types, &section) {
            if meaning.is_empty() {
                complaints.push(format!("{key}: say in a doc comment what it means"));
            }
            let Some(default) = default else {
                complaints.push(format!("{key}: its section's Debug leaves it out"));
                continue;
            };
            let (said, is) = (said_default(&meaning), default.written());
            if let Some(said) = said.filter(|said| is.as_ref() != Some(said)) {
                let is = is.unwrap_or_else(|| "nothing".to_owned());
                complaints.push(format!("{key}: its doc comment says {said}, and the default is {is}"));
            }
        }
    }
    complaints
}

/// The number of a sentence such as `Default 10,000.`; none when it is no number, or has another unit than the setting.
fn said_default(meaning: &str) -> Option<String> {
    let (_, rest) = meaning.split_once("Default ")?;
    let word = rest.split(' ').next()?;
    let number = word.trim_end_matches([',', ';', '.']);
    let has_unit = word == number && rest.len() > word.len() && !rest[word.len()..].starts_with(" (");
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == ',');
    (is_number && !has_unit).then(|| number.replace(',', ""))
}

/// Those that all services share first, each once.
fn sections<'a>(types: &'a Types, services: &[Service], parts: &[(&str, Value)]) -> Vec<Section<'a>> {
    let mut sections: Vec<Section<'a>> = Vec::new();
    for service in services {
        for field in &types.config(service.name).fields {
            let (_, fields) = types.section(&field.kind).expect("a section is a struct of ours");
            let default = service.default.field(&field.name).expect("a config shows its sections");
            add(types, &mut sections, service.name, field.name.clone(), fields, default, parts);
        }
    }
    let of_one = |section: &Section<'_>| section.read_by.len() == 1;
    sections.sort_by_key(of_one);
    sections
}

/// A section, then the sections inside it.
fn add<'a>(
    types: &'a Types,
    sections: &mut Vec<Section<'a>>,
    service: &'static str,
    name: String,
    fields: &'a Struct,
    default: &Value,
    parts: &[(&str, Value)],
) {
    match sections.iter_mut().find(|section| section.name == name) {
        Some(section) => section.read_by.push(service),
        None => sections.push(Section {
            name: name.clone(),
            read_by: vec![service],
            fields,
            default: default.clone(),
        }),
    }
    for field in &fields.fields {
        if let Some((_, inner)) = types.section(&field.kind) {
            let default = default.field(&field.name).cloned().unwrap_or(Value::Fields(Vec::new()));
            add(types, sections, service, format!("{name}.{}", field.name), inner, &default, parts);
        } else if let Some((part, inner)) = types.parts(&field.kind) {
            let default = parts.iter().find(|(known, _)| *known == part).map(|(_, default)| default);
            let default = default.expect("the default of a part is given");
            add(types, sections, service, format!("{name}.{}.<name>", field.name), inner, default, parts);
        }
    }
}

/// Those of a section that are not sections themselves.
fn settings(types: &Types, section: &Section<'_>) -> Vec<Setting> {
    let plain = section
        .fields
        .fields
        .iter()
        .filter(|field| types.section(&field.kind).is_none() && types.parts(&field.kind).is_none());
    let setting = |field: &crate::types::Field| Setting {
        key: format!("{}.{}", section.name, field.name),
        kind: types.words(&field.kind),
        default: section.default.field(&field.name).cloned(),
        meaning: field.meaning.clone(),
    };
    plain.map(setting).collect()
}

/// What a section's comment says beside its name, which is the title already.
fn about(meaning: &str) -> String {
    if !meaning.starts_with("`[") {
        return meaning.to_owned();
    }
    let rest = meaning.split_once(" in the environment").map_or("", |(_, rest)| rest);
    let mut rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric()).chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn a_text_that_names_a_number_is_held_to_it() {
    for (meaning, said) in [
        ("How long. Default 10,000.", Some("10000")),
        ("How long. Default 2000; 0 is no bound.", Some("2000")),
        ("How much. Default 1,073,741,824 (1 GiB).", Some("1073741824")),
        ("How much. Default 8 MiB, at most 256 MiB.", None),
        ("Where. Default 127.0.0.1:5241.", None),
        ("Threads; 0 (default) is one for each core.", None),
        ("Default none.", None),
    ] {
        assert_eq!(said_default(meaning).as_deref(), said, "{meaning}");
    }
}

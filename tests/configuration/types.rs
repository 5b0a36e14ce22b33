//! The structs and enums of the workspace, as far as a configuration is made of them.

use quote::ToTokens;
use std::collections::BTreeMap;
use std::path::Path;
use syn::{Attribute, Expr, ExprLit, Fields, Item, Lit, Meta};

/// By name; a name that two crates use is told apart by where it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Types {
    structs: BTreeMap<String, Struct>,
    enums: BTreeMap<String, Vec<String>>,
    /// `Config` of each service, by its folder.
    configs: BTreeMap<String, Struct>,
}

#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) meaning: String,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Without blanks: `Option<PathBuf>`.
    pub(crate) kind: String,
    pub(crate) meaning: String,
}

impl Types {
    /// Reads every file of every crate and service.
    pub(crate) fn read(root: &Path) -> Self {
        let mut types = Self::default();
        for folder in ["crates", "services"] {
            for package in std::fs::read_dir(root.join(folder)).unwrap() {
                let package = package.unwrap();
                let name = package.file_name().into_string().unwrap();
                types.add_folder(&package.path().join("src"), &name);
            }
        }
        types
    }

    fn add_folder(&mut self, folder: &Path, package: &str) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add_folder(&path, package);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add_file(&std::fs::read_to_string(&path).unwrap(), package);
            }
        }
    }

    fn add_file(&mut self, text: &str, package: &str) {
        // Most files hold none: parsing them all would take seconds.
        if !text.contains("Deserialize") {
            return;
        }
        for item in syn::parse_file(text).unwrap().items {
            match item {
                // One that is read from text is a value, not a section.
                Item::Struct(item) if !is_text(&item.attrs) => {
                    let Fields::Named(fields) = item.fields else { continue };
                    let fields = fields.named.into_iter().map(|field| Field {
                        name: field.ident.unwrap().to_string(),
                        kind: field.ty.to_token_stream().to_string().replace(' ', ""),
                        meaning: documentation(&field.attrs),
                    });
                    let found = Struct { meaning: documentation(&item.attrs), fields: fields.collect() };
                    if item.ident == "Config" {
                        self.configs.insert(package.to_owned(), found);
                    } else {
                        self.structs.insert(item.ident.to_string(), found);
                    }
                }
                Item::Enum(item) => {
                    let names = item.variants.iter().map(|variant| snake(&variant.ident.to_string()));
                    self.enums.insert(item.ident.to_string(), names.collect());
                }
                _ => {}
            }
        }
    }

    /// The sections of a service.
    pub(crate) fn config(&self, service: &str) -> &Struct {
        &self.configs[service]
    }

    /// A section, if this type is one.
    pub(crate) fn section(&self, kind: &str) -> Option<(&str, &Struct)> {
        let (name, found) = self.structs.get_key_value(kind)?;
        Some((name, found))
    }

    /// The type of a table of named parts, and the type of the parts, if this is one.
    pub(crate) fn parts<'a>(&self, kind: &'a str) -> Option<(&'a str, &Struct)> {
        let (_, part) = kind.strip_prefix("BTreeMap<")?.strip_suffix('>')?.split_once(',')?;
        Some((part, self.structs.get(part)?))
    }

    /// A type in words.
    pub(crate) fn words(&self, kind: &str) -> String {
        let inside = |wrapper: &str| kind.strip_prefix(wrapper)?.strip_prefix('<')?.strip_suffix('>');
        if let Some(inner) = inside("Option") {
            return self.words(inner);
        }
        let last = kind.rsplit("::").next().unwrap_or(kind);
        match last {
            "bool" => "true or false".to_owned(),
            "String" => "text".to_owned(),
            "SecretString" => "secret text".to_owned(),
            "PathBuf" => "path".to_owned(),
            "SocketAddr" => "address:port".to_owned(),
            "BTreeMap<String,String>" => "table of texts".to_owned(),
            "QueueNames" => "list of names".to_owned(),
            "u8" | "u16" | "u32" | "u64" | "usize" => "number".to_owned(),
            "f32" | "f64" => "fraction".to_owned(),
            _ if last.starts_with("NonZero") => "number from 1".to_owned(),
            _ => match self.enums.get(last) {
                Some(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
                // A type of ours that is made of text.
                None => "text".to_owned(),
            },
        }
    }
}

fn is_text(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let tokens = attribute.meta.to_token_stream().to_string();
        attribute.path().is_ident("serde") && tokens.contains("try_from")
    })
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// `ExportProject` as serde reads it, `export_project`.
pub(crate) fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(c.to_lowercase());
    }
    text
}

//! `domain` ← `telemetry` ← `redis-core` ← engines ← services; `domain`, `telemetry` ← `http-kit` ← services.

use cargo_metadata::{DependencyKind, MetadataCommand};

/// A crate of the workspace, by the folder it lies in.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    folder: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    /// Ours by its folder, another by its package.
    name: String,
    is_dev: bool,
    is_optional: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Domain,
    Base,
    HttpKit,
    Engine,
    Service,
    CommandLine,
    Testkit,
    Tests,
}

const ENGINES: [&str; 6] = ["cache", "session", "ratelimit", "queue", "progress", "correlation"];
const SERVICES: [&str; 4] = ["cache-api", "ratelimit-gateway", "queue-worker", "progress-sse"];
const HTTP: [&str; 9] =
    ["actix-web", "actix-http", "reqwest", "hyper", "hyper-util", "axum", "http", "tower", "http-kit"];
const ASYNC: [&str; 6] = ["tokio", "tokio-util", "futures-util", "futures", "async-trait", "mio"];

fn layer(folder: &str) -> Option<Layer> {
    Some(match folder {
        "domain" | "redis-acl" => Layer::Domain,
        "redis-core" | "telemetry" => Layer::Base,
        "http-kit" => Layer::HttpKit,
        "sluice" => Layer::CommandLine,
        "testkit" => Layer::Testkit,
        "tests" => Layer::Tests,
        engine if ENGINES.contains(&engine) => Layer::Engine,
        service if SERVICES.contains(&service) => Layer::Service,
        _ => return None,
    })
}

/// The workspace as cargo sees it. Asks for no dependency's own data, so it needs no network.
pub(crate) fn members() -> Vec<Member> {
    let mut command = MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let metadata = command.no_deps().other_options(["--offline".to_owned()]).exec().unwrap();
    let folder = |path: &cargo_metadata::camino::Utf8Path| path.file_name().unwrap().to_owned();
    let members = metadata.packages.iter().map(|package| Member {
        folder: folder(package.manifest_path.parent().unwrap()),
        dependencies: package
            .dependencies
            .iter()
            .map(|found| Dependency {
                name: found.path.as_ref().map_or_else(|| found.name.clone(), |path| folder(path)),
                is_dev: found.kind == DependencyKind::Development,
                is_optional: found.optional,
            })
            .collect(),
    });
    members.collect()
}

pub(crate) fn complaints(members: &[Member]) -> Vec<String> {
    let mut complaints = Vec::new();
    for member in members {
        let Some(from) = layer(&member.folder) else {
            complaints.push(format!("{}: give this crate a place in tests/tidy/arrows.rs", member.folder));
            continue;
        };
        for to in &member.dependencies {
            if let Some(why) = why_not(from, &member.folder, to) {
                complaints.push(format!("{} → {}: {why}", member.folder, to.name));
            }
        }
    }
    complaints
}

/// Why this arrow must not be, if so.
fn why_not(from: Layer, folder: &str, to: &Dependency) -> Option<&'static str> {
    use Layer as L;
    let name = to.name.as_str();
    if from == L::Tests {
        return None;
    }
    if name == "fred" && folder != "redis-core" {
        return Some("only redis-core names the client");
    }
    if to.is_dev {
        return None;
    }
    if from == L::Domain && (ASYNC.contains(&name) || HTTP.contains(&name)) {
        return Some("domain does no I/O and knows no async");
    }
    // A middleware hides behind a feature of its engine.
    if matches!(from, L::Domain | L::Base | L::Engine) && HTTP.contains(&name) && !to.is_optional {
        return Some("nothing below the services knows HTTP");
    }
    let to = layer(name)?;
    let allowed = match from {
        L::Domain | L::Testkit => to == L::Domain && from != to,
        // What is done to Redis is measured.
        L::Base => to == L::Domain || name == "telemetry",
        L::HttpKit => to == L::Domain || name == "telemetry",
        L::Engine => matches!(to, L::Domain | L::Base),
        L::Service => matches!(to, L::Domain | L::Base | L::HttpKit | L::Engine),
        L::CommandLine => !matches!(to, L::CommandLine | L::Testkit | L::Tests),
        L::Tests => true,
    };
    let why = match to {
        L::Testkit | L::Tests => "for tests only: a dev-dependency",
        L::Service | L::CommandLine => "no service is known to another: they meet in Redis",
        L::Engine => "engines are known to services only; they need each other by contract, not by crate",
        _ => "this arrow points the wrong way",
    };
    (!allowed).then_some(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(folder: &str, dependencies: &[&str]) -> Member {
        let dependency = |text: &&str| {
            let (name, kind) = text.split_once(' ').unwrap_or((text, ""));
            Dependency { name: name.to_owned(), is_dev: kind == "dev", is_optional: kind == "optional" }
        };
        Member { folder: folder.to_owned(), dependencies: dependencies.iter().map(dependency).collect() }
    }

    #[test]
    fn an_arrow_that_points_the_wrong_way_is_reported() {
        for (from, to) in [
            ("domain", "redis-core"),
            ("domain", "tokio"),
            ("telemetry", "redis-core"),
            ("redis-core", "queue"),
            ("telemetry", "http-kit"),
            ("http-kit", "redis-core"),
            ("http-kit", "queue"),
            ("queue", "cache"),
            ("queue", "http-kit"),
            ("queue", "actix-web"),
            ("queue", "reqwest"),
            ("queue", "queue-worker"),
            ("queue", "fred"),
            ("queue", "fred dev"),
            ("queue", "testkit"),
            ("queue-worker", "cache-api"),
            ("queue-worker", "sluice"),
            ("queue-worker", "fred"),
            ("testkit", "redis-core"),
            ("sluice", "testkit"),
            ("some-new-crate", "domain"),
        ] {
            assert!(!complaints(&[member(from, &[to])]).is_empty(), "{from} → {to}");
        }
    }

    #[test]
    fn an_arrow_that_points_the_right_way_is_not() {
        for (from, to) in [
            ("redis-core", "domain"),
            ("redis-core", "fred"),
            ("redis-core", "telemetry"),
            ("telemetry", "domain"),
            ("http-kit", "telemetry"),
            ("http-kit", "actix-web"),
            ("queue", "redis-core"),
            ("queue", "tokio"),
            ("queue", "testkit dev"),
            ("ratelimit", "actix-web optional"),
            ("queue-worker", "queue"),
            ("queue-worker", "http-kit"),
            ("queue-worker", "reqwest"),
            ("sluice", "queue-worker"),
            ("tests", "fred"),
            ("tests", "testkit"),
        ] {
            assert_eq!(complaints(&[member(from, &[to])]), Vec::<String>::new(), "{from} → {to}");
        }
    }
}

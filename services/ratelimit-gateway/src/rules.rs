//! What the rules file says, checked: routes, where they lead, under which terms.

mod file;
mod matcher;
mod path;
mod policy;
mod reload;

pub(crate) use matcher::{HostPattern, Matcher, PathPattern};
pub(crate) use path::normalised;
pub(crate) use policy::{Part, Policy};
pub(crate) use reload::Live;

use crate::identity::{IdentityRules, Kind};
use domain::PolicyName;
use http::Method;
use ratelimit::Away;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The rules file, read and checked. Never changed: a reload makes another one.
#[derive(Debug)]
pub(crate) struct Rules {
    /// In the order of the file.
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) matcher: Matcher,
    pub(crate) policies: BTreeMap<PolicyName, Arc<Policy>>,
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(crate) identity: IdentityRules,
}

/// Why rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub(crate) struct RulesError {
    pub(crate) file: PathBuf,
    pub(crate) line: Option<usize>,
    pub(crate) reason: String,
}

/// Where rules come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The file; without it the rules that were shipped with this program.
    pub(crate) file: Option<PathBuf>,
    /// What `${NAME}` stands for, by the name in lower case; what is not here comes from the process's environment.
    pub(crate) variables: BTreeMap<String, String>,
    /// Whether this process has the keys of sessions.
    pub(crate) knows_sessions: bool,
}

impl Source {
    /// The file's name, for a person.
    pub(crate) fn name(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new("the built-in rules"))
    }

    /// Reads the file, and those that it names.
    ///
    /// # Errors
    /// [`RulesError`] with the line.
    pub(crate) fn read(&self) -> Result<Rules, RulesError> {
        let wrong = |line, reason| RulesError { file: self.name().to_owned(), line, reason };
        let variable = |name: &str| {
            self.variables.get(&name.to_ascii_lowercase()).cloned().or_else(|| std::env::var(name).ok())
        };
        let text = match &self.file {
            Some(file) => std::fs::read_to_string(file).map_err(|error| wrong(None, error.to_string()))?,
            None => SHIPPED.to_owned(),
        };
        let folder = self.file.as_deref().and_then(Path::parent);
        let rules = Rules::parse(&text, folder, &variable).map_err(|(line, reason)| wrong(line, reason))?;
        if rules.identity.session.is_some() && !self.knows_sessions {
            let reason =
                "[identity.session] needs session.user_key_file and session.keys_file, those of cache-api";
            return Err(wrong(None, reason.to_owned()));
        }
        Ok(rules)
    }
}

const SHIPPED: &str = include_str!("../../../deploy/gateway/rules.toml");

/// Where requests of one kind go, and under which terms.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in the file, in logs and in metrics.
    pub(crate) name: String,
    /// Any if empty.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) path: PathPattern,
    /// Any if empty.
    pub(crate) methods: Vec<Method>,
    pub(crate) upstream: Arc<Upstream>,
    /// All of them have to have room.
    pub(crate) policies: Vec<Arc<Policy>>,
    /// Units that a request takes from each.
    pub(crate) cost: u32,
    /// What holds while Redis is away.
    pub(crate) redis_away: Away,
    /// How a request may say who it is. Others are not looked at, and reach the upstream as they came.
    pub(crate) accepts: Vec<Kind>,
    /// A request that does not say who it is gets 401.
    pub(crate) identity_required: bool,
    pub(crate) timeouts: Timeouts,
}

/// Servers that answer alike. Names are resolved again and again, so that new replicas take part.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Its name in the file.
    pub(crate) name: String,
    /// `host:port` each, plain HTTP.
    pub(crate) targets: Vec<Target>,
}

/// One address, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How long the upstream may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// To a connection.
    pub(crate) connect: Duration,
    /// From the last byte of the request to the head of the answer.
    pub(crate) head: Duration,
    /// Between two pieces of a body or of a tunnel, in either direction.
    pub(crate) idle: Duration,
}

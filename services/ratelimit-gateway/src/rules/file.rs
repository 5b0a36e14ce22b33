//! The rules file as it is written, TOML, and how it becomes [`Rules`]. Every mistake names its line.

use super::{HostPattern, Matcher, Part, PathPattern, Policy, Route, Rules, Target, Timeouts, Upstream};
use crate::identity::{IdentityEntry, Kind};
use domain::PolicyName;
use http::Method;
use ratelimit::{Away, Limits, Window};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    upstreams: BTreeMap<String, UpstreamEntry>,
    #[serde(default)]
    policies: BTreeMap<String, Spanned<PolicyEntry>>,
    #[serde(default)]
    identity: Option<Spanned<IdentityEntry>>,
    routes: Vec<Spanned<RouteEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamEntry {
    targets: Spanned<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyEntry {
    scope: Spanned<Vec<Part>>,
    windows: Spanned<Vec<WindowEntry>>,
    #[serde(default)]
    tiers: BTreeMap<String, Spanned<Vec<WindowEntry>>>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowEntry {
    limit: u32,
    window: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    name: Spanned<String>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    path: Spanned<String>,
    #[serde(default)]
    exact: bool,
    #[serde(default)]
    methods: Vec<Spanned<String>>,
    upstream: Spanned<String>,
    #[serde(default)]
    policies: Vec<Spanned<String>>,
    cost: Option<Spanned<u32>>,
    #[serde(default)]
    redis_away: AwayEntry,
    identity: Option<Vec<Spanned<Kind>>>,
    #[serde(default)]
    identity_required: bool,
    #[serde(default)]
    timeouts: TimeoutsEntry,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AwayEntry {
    #[default]
    Open,
    Closed,
    Local,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimeoutsEntry {
    connect_ms: Wait,
    head_ms: Wait,
    idle_ms: Wait,
}

impl Default for TimeoutsEntry {
    fn default() -> Self {
        Self { connect_ms: Wait(3_000), head_ms: Wait(60_000), idle_ms: Wait(60_000) }
    }
}

/// Milliseconds, up to a day: without a bound no deadline could be told from now, and zero would be over before it began.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct Wait(u64);

impl TryFrom<u64> for Wait {
    type Error = &'static str;

    fn try_from(ms: u64) -> Result<Self, Self::Error> {
        if (1..=86_400_000).contains(&ms) { Ok(Self(ms)) } else { Err("1 to 86,400,000 (a day)") }
    }
}

/// Where in the file, and what is wrong there.
type Mistake = (Range<usize>, String);

impl Rules {
    /// Reads the text of a rules file, whose relative paths begin in `folder`.
    ///
    /// # Errors
    /// The line, where one is to blame, and what is wrong.
    pub(crate) fn parse(
        text: &str,
        folder: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, (Option<usize>, String)> {
        let line = |at: usize| 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        let file: File = toml::from_str(text)
            .map_err(|error| (error.span().map(|span| line(span.start)), error.message().to_owned()))?;
        file.checked(folder, variable).map_err(|(span, reason)| (Some(line(span.start)), reason))
    }
}

impl File {
    fn checked(
        self,
        folder: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Rules, Mistake> {
        let upstreams = self.upstreams.into_iter().map(|(name, entry)| {
            let targets = upstream_targets(entry, variable)?;
            Ok((name.clone(), Arc::new(Upstream { name, targets })))
        });
        let upstreams = upstreams.collect::<Result<BTreeMap<_, _>, Mistake>>()?;
        let policies = self.policies.into_iter().map(|(name, entry)| {
            let policy = policy(&name, entry)?;
            Ok((policy.name.clone(), Arc::new(policy)))
        });
        let policies = policies.collect::<Result<BTreeMap<_, _>, Mistake>>()?;
        let identity = match self.identity {
            None => Default::default(),
            Some(entry) => {
                let span = entry.span();
                entry.into_inner().checked(folder).map_err(|reason| (span, reason))?
            }
        };
        let known = Known { upstreams: &upstreams, policies: &policies, kinds: identity.kinds() };
        let mut routes: Vec<Arc<Route>> = Vec::with_capacity(self.routes.len());
        for entry in self.routes {
            let span = entry.span();
            let route = known.route(entry.into_inner())?;
            if let Some(other) = routes.iter().find(|other| hides(other, &route)) {
                return Err((span, format!("route {}: {} takes the same requests", route.name, other.name)));
            }
            routes.push(Arc::new(route));
        }
        Ok(Rules { matcher: Matcher::new(&routes), routes, policies, upstreams, identity })
    }
}

/// What routes may name.
struct Known<'a> {
    upstreams: &'a BTreeMap<String, Arc<Upstream>>,
    policies: &'a BTreeMap<PolicyName, Arc<Policy>>,
    kinds: Vec<Kind>,
}

impl Known<'_> {
    fn route(&self, entry: RouteEntry) -> Result<Route, Mistake> {
        let name = non_empty(&entry.name)?;
        let upstream = self.upstreams.get(entry.upstream.get_ref()).cloned();
        let upstream = upstream.ok_or_else(|| of(&entry.upstream, "there is no upstream of this name"))?;
        let host = |text: &Spanned<String>| HostPattern::parse(text.get_ref()).map_err(|why| of(text, why));
        let policy = |text: &Spanned<String>| {
            let found = self.policies.iter().find(|(name, _)| name.as_str() == text.get_ref());
            found.map(|(_, policy)| policy.clone()).ok_or_else(|| of(text, "there is no policy of this name"))
        };
        let policies = entry.policies.iter().map(policy).collect::<Result<Vec<_>, _>>()?;
        if policies.len() > MOST_POLICIES {
            return Err(of(&entry.policies[MOST_POLICIES], "at most 16 policies"));
        }
        let accepts = match &entry.identity {
            None => self.kinds.clone(),
            Some(kinds) => {
                let unknown = kinds.iter().find(|kind| !self.kinds.contains(kind.get_ref()));
                if let Some(kind) = unknown {
                    return Err(of(kind, "[identity] does not say how to check this"));
                }
                kinds.iter().map(|kind| *kind.get_ref()).collect()
            }
        };
        if entry.identity_required && accepts.is_empty() {
            return Err(of(&entry.name, "identity_required, and no way to say who one is"));
        }
        let path =
            PathPattern::parse(entry.path.get_ref(), entry.exact).map_err(|why| of(&entry.path, why))?;
        Ok(Route {
            name,
            hosts: entry.hosts.iter().map(host).collect::<Result<_, _>>()?,
            path,
            methods: methods(&entry.methods)?,
            upstream,
            cost: cost(entry.cost.as_ref(), &policies)?,
            policies,
            redis_away: match entry.redis_away {
                AwayEntry::Open => Away::Open,
                AwayEntry::Closed => Away::Closed,
                AwayEntry::Local => Away::Local,
            },
            accepts,
            identity_required: entry.identity_required,
            timeouts: entry.timeouts.into(),
        })
    }
}

/// Whoever may GET may ask for the head of it alone (RFC 9110, section 9.3.2).
fn methods(entries: &[Spanned<String>]) -> Result<Vec<Method>, Mistake> {
    let method = |text: &Spanned<String>| text.get_ref().parse().map_err(|_| of(text, "not a method"));
    let mut methods: Vec<Method> = entries.iter().map(method).collect::<Result<_, _>>()?;
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    Ok(methods)
}

fn cost(entry: Option<&Spanned<u32>>, policies: &[Arc<Policy>]) -> Result<u32, Mistake> {
    let Some(entry) = entry else { return Ok(1) };
    let cost = *entry.get_ref();
    let too_much = policies.iter().find(|policy| policy.most_at_once() < cost);
    match (cost, too_much) {
        (0, _) => Err(of(entry, "a cost is at least 1")),
        (_, Some(policy)) => {
            Err(of(entry, format!("a cost of {cost} can never pass policy {}", policy.name)))
        }
        _ => Ok(cost),
    }
}

/// Whether a later route would never get a request.
fn hides(first: &Route, second: &Route) -> bool {
    let same_host = |host| second.hosts.contains(host);
    let hosts = (first.hosts.is_empty() && second.hosts.is_empty()) || first.hosts.iter().any(same_host);
    let methods = (first.methods.is_empty() && second.methods.is_empty())
        || first.methods.iter().any(|method| second.methods.contains(method));
    hosts && methods && first.path.is_same(&second.path)
}

fn policy(name: &str, entry: Spanned<PolicyEntry>) -> Result<Policy, Mistake> {
    let span = entry.span();
    let name: PolicyName = name.parse().map_err(|error| (span, format!("policy `{name}`: {error}")))?;
    let entry = entry.into_inner();
    let mut scope = entry.scope.get_ref().clone();
    scope.sort_unstable();
    scope.dedup();
    if scope.is_empty() || (scope.contains(&Part::All) && scope.len() > 1) {
        return Err(of(&entry.scope, "a scope is `all`, or some of `user`, `project`, `ip`"));
    }
    let limits = limits(&entry.windows)?;
    let tiers = entry.tiers.into_iter().map(|(tier, windows)| Ok((tier, self::limits(&windows)?)));
    let tiers = tiers.collect::<Result<_, Mistake>>()?;
    Ok(Policy { name, scope, limits, tiers, dry_run: entry.dry_run })
}

fn limits(windows: &Spanned<Vec<WindowEntry>>) -> Result<Arc<Limits>, Mistake> {
    let window = |entry: &WindowEntry| {
        let length = duration(entry.window.get_ref());
        let length =
            length.ok_or_else(|| of(&entry.window, "a window is a number and `ms`, `s`, `m`, `h` or `d`"))?;
        Ok(Window { limit: entry.limit, length })
    };
    let list = windows.get_ref().iter().map(window).collect::<Result<_, Mistake>>()?;
    Limits::new(list).map(Arc::new).map_err(|error| of(windows, error.to_string()))
}

/// `700ms`, `30s`, `1m`, `12h`, `31d`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

fn upstream_targets(
    entry: UpstreamEntry,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Target>, Mistake> {
    if entry.targets.get_ref().is_empty() {
        return Err(of(&entry.targets, "at least one target"));
    }
    let target = |text: &Spanned<String>| {
        let address = substituted(text.get_ref(), variable).map_err(|why| of(text, why))?;
        target_of(&address).ok_or_else(|| of(text, format!("`{address}` is not `http://host:port`")))
    };
    entry.targets.get_ref().iter().map(target).collect()
}

fn target_of(text: &str) -> Option<Target> {
    let (host, port) = text.strip_prefix("http://")?.rsplit_once(':')?;
    let is_number = host.starts_with('[') && host.ends_with(']');
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let holds = !host.is_empty() && (is_name || is_number);
    holds.then_some(Target { host: host.to_owned(), port: port.parse().ok()? })
}

/// A text in which `${NAME}` and `${NAME:-default}` stand for variables of the environment.
fn substituted(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut pieces = text.split("${");
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (inner, rest) = piece.split_once('}').ok_or("`${` without `}`")?;
        let (name, default) =
            inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let value = variable(name).filter(|value| !value.is_empty()).or_else(|| default.map(str::to_owned));
        whole.push_str(&value.ok_or_else(|| format!("the variable {name} is not set"))?);
        whole.push_str(rest);
    }
    Ok(whole)
}

impl From<TimeoutsEntry> for Timeouts {
    fn from(TimeoutsEntry { connect_ms, head_ms, idle_ms }: TimeoutsEntry) -> Self {
        let ms = |wait: Wait| Duration::from_millis(wait.0);
        Self { connect: ms(connect_ms), head: ms(head_ms), idle: ms(idle_ms) }
    }
}

fn non_empty(text: &Spanned<String>) -> Result<String, Mistake> {
    let name = text.get_ref();
    if name.is_empty() { Err(of(text, "a name is missing")) } else { Ok(name.clone()) }
}

fn of<T>(place: &Spanned<T>, reason: impl Into<String>) -> Mistake {
    (place.span(), reason.into())
}

/// As many as the limiter judges in one step.
const MOST_POLICIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[upstreams.app]
targets = ["http://${APP_HOST:-127.0.0.1}:${PORT}"]

[policies.p]
scope = ["user"]
windows = [{ limit = 5, window = "700ms" }, { limit = 100, window = "1h" }]
tiers.gold = [{ limit = 50, window = "1m" }]

[[routes]]
name = "a"
hosts = ["*.x.org"]
path = "/a"
methods = ["GET"]
upstream = "app"
policies = ["p"]
cost = 2
"#;

    const MANY: &str = r#"["p","p","p","p","p","p","p","p","p","p","p","p","p","p","p","p","p"]"#;

    fn parsed(text: &str) -> Result<Rules, (Option<usize>, String)> {
        Rules::parse(text, None, &|name| (name == "PORT").then(|| "80".to_owned()))
    }

    #[test]
    fn a_file_says_who_gets_what_and_where_from() {
        let rules = parsed(GOOD).unwrap();
        let route = &rules.routes[0];
        assert_eq!(route.upstream.targets, [Target { host: "127.0.0.1".to_owned(), port: 80 }]);
        assert_eq!((route.cost, route.policies[0].name.as_str()), (2, "p"));
        assert_eq!(route.policies[0].limits.longest(), Duration::from_secs(3600));
        assert_eq!(route.policies[0].tiers["gold"].most_at_once(), 50);
    }

    #[test]
    fn a_mistake_names_its_line() {
        for (from, to, line, reason) in [
            ("cost = 2", "cots = 2", 17, "unknown field `cots`"),
            ("cost = 2", "cost = \"2\"", 17, "invalid type"),
            ("cost = 2", "cost = 0", 17, "at least 1"),
            ("cost = 2", "cost = 6", 17, "can never pass policy p"),
            ("policies = [\"p\"]", "policies = [\"q\"]", 16, "no policy"),
            ("upstream = \"app\"", "upstream = \"ape\"", 15, "no upstream"),
            ("\"/a\"", "\"a\"", 13, "begins with `/`"),
            ("\"/a\"", "\"/a/*\"", 13, "neither a word"),
            ("\"/a\"", "\"/a;b\"", 13, "neither a word"),
            ("\"/a\"", "\"/a/../b\"", 13, "no `.` or `..`"),
            ("*.x.org", "*x.org", 12, "a host is"),
            ("\"GET\"", "\"G T\"", 14, "not a method"),
            ("\"700ms\"", "\"700\"", 7, "a window is a number"),
            ("\"700ms\"", "\"9ms\"", 7, "a window is 100 ms to"),
            ("limit = 5,", "limit = 0,", 7, "a limit is 1 to"),
            ("\"1m\"", "\"1y\"", 8, "a window is a number"),
            ("[\"user\"]", "[]", 6, "a scope is"),
            ("[\"user\"]", "[\"user\", \"all\"]", 6, "a scope is"),
            ("[\"user\"]", "[\"usr\"]", 6, "unknown variant `usr`"),
            ("${PORT}", "${PROT}", 3, "PROT is not set"),
            ("${PORT}", "x", 3, "is not `http://host:port`"),
            ("${PORT}", "${PORT", 3, "without `}`"),
            ("[policies.p]", "[policies.\"p q\"]", 5, "policy name"),
            ("cost = 2", "identity = [\"jwt\"]", 17, "does not say how"),
            (
                "[[routes]]",
                "[identity.jwt]\njwks_file = \"k\"\nleeway_s = 121\n[[routes]]",
                12,
                "0 to 120 seconds",
            ),
            ("cost = 2", "identity_required = true", 11, "no way to say who one is"),
            ("name = \"a\"", "name = \"\"", 11, "a name is missing"),
            ("cost = 2", "timeouts = { connect_ms = 0 }", 17, "1 to 86,400,000 (a day)"),
            ("cost = 2", "timeouts = { head_ms = 86400001 }", 17, "1 to 86,400,000 (a day)"),
            ("cost = 2", "timeouts = { idle_ms = 9223372036854775807 }", 17, "1 to 86,400,000 (a day)"),
            ("[\"p\"]", MANY, 16, "at most 16 policies"),
            ("[[routes]]", "[identity]\ntrusted_hops = 17\n[[routes]]", 10, "trusted_hops: 0 to 16"),
            (
                "[[routes]]",
                "[identity.api_key.keys.a]\ntier = \"a b\"\n[[routes]]",
                10,
                "key a: a tier is 1 to 64 of",
            ),
            ("[[routes]]", "[identity.jwt]\njwks_file = \"none\"\n[[routes]]", 10, "none: No such file"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let (at, why) = parsed(&text).unwrap_err();
            assert_eq!(at, Some(line), "{to}: {why}");
            assert!(why.contains(reason), "{to}: {why}");
        }
    }

    #[test]
    fn a_route_that_would_never_get_a_request_is_a_mistake() {
        let route = GOOD.split_once("[[routes]]").unwrap().1.replace("name = \"a\"", "name = \"b\"");
        let (line, reason) = parsed(&format!("{GOOD}[[routes]]{route}")).map(drop).unwrap_err();
        assert_eq!(reason, "route b: a takes the same requests");
        assert_eq!(line, Some(18));
        let other = route.replace("\"GET\"", "\"POST\"");
        assert!(parsed(&format!("{GOOD}[[routes]]{other}")).is_ok());
    }
}

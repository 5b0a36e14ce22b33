//! Which route a request takes: the most specific one, wherever it stands in the file.

use super::Route;
use super::path::normalised;
use http::Method;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

/// All routes, the most specific first: by host (a name, then the longest `*.name`, then any), by path (segment by segment
/// a word before a `{placeholder}`, and a longer path before a shorter one), by method (named before any).
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    ways: Vec<Way>,
}

/// One host of one route.
#[derive(Debug)]
struct Way {
    host: HostPattern,
    route: Arc<Route>,
}

/// `api.example.com`, `*.example.com`, or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    /// This name.
    Exactly(String),
    /// Every name that ends with this, which begins with a dot.
    Below(String),
    Any,
}

/// `/v1/queues/{queue}/tasks`: also what lies below it, unless it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    /// As in the file.
    pub(crate) text: String,
    /// None is a placeholder.
    segments: Vec<Option<String>>,
    /// Nothing below it.
    pub(crate) exact: bool,
}

impl Matcher {
    pub(crate) fn new(routes: &[Arc<Route>]) -> Self {
        let of_route = |route: &Arc<Route>| {
            let any = [HostPattern::Any];
            let hosts = if route.hosts.is_empty() { &any[..] } else { &route.hosts };
            hosts.iter().map(|host| Way { host: host.clone(), route: route.clone() }).collect::<Vec<_>>()
        };
        let mut ways: Vec<Way> = routes.iter().flat_map(of_route).collect();
        ways.sort_by_cached_key(|way| (way.host.rank(), way.route.path.rank(), way.route.methods.is_empty()));
        Self { ways }
    }

    /// The route of a host (as in `Host`, with or without a port), a normalised path and a method. Cost: one look at each
    /// route before it.
    ///
    /// # Errors
    /// The methods for which there is one; none for a path that leads nowhere.
    pub(crate) fn find(&self, host: &str, path: &str, method: &Method) -> Result<&Arc<Route>, Vec<&Method>> {
        let host = name_of(host);
        let takes = |way: &&Way| way.route.methods.is_empty() || way.route.methods.contains(method);
        let leads = |way: &&Way| way.host.fits(host) && way.route.path.fits(path);
        let route = self.ways.iter().find(|way| takes(way) && leads(way)).map(|way| &way.route);
        route.ok_or_else(|| {
            let mut others: Vec<&Method> = Vec::new();
            for method in self.ways.iter().filter(leads).flat_map(|way| &way.route.methods) {
                if !others.contains(&method) {
                    others.push(method);
                }
            }
            others
        })
    }
}

/// The name of `name:port`, without a dot at its end; `[::1]` keeps its brackets.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

impl HostPattern {
    /// Reads `name` or `*.name`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.to_ascii_lowercase();
        let (name, below) = text.strip_prefix("*.").map_or((&*text, false), |name| (name, true));
        let fits = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':')
        };
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(fits) || name_of(name) != name {
            return Err("a host is `name` or `*.name`, without a port");
        }
        Ok(if below { Self::Below(format!(".{name}")) } else { Self::Exactly(text) })
    }

    /// In any case (RFC 9110, section 4.2.3).
    fn fits(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => name.eq_ignore_ascii_case(host),
            Self::Below(end) => {
                let start = host.len().checked_sub(end.len()).filter(|start| *start > 0);
                start.is_some_and(|start| host.as_bytes()[start..].eq_ignore_ascii_case(end.as_bytes()))
            }
            Self::Any => true,
        }
    }

    fn rank(&self) -> (u8, Reverse<usize>) {
        match self {
            Self::Exactly(_) => (0, Reverse(0)),
            Self::Below(end) => (1, Reverse(end.len())),
            Self::Any => (2, Reverse(0)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Below(end) => write!(f, "*{end}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl PathPattern {
    /// Reads `/a/{b}/c`.
    pub(crate) fn parse(text: &str, exact: bool) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a path begins with `/`".to_owned());
        }
        let read = |segment: &str| match segment.strip_prefix('{').map(|rest| rest.strip_suffix('}')) {
            Some(Some(name)) if !name.is_empty() && !name.contains(['{', '}']) => Ok(None),
            None if !segment.contains(['{', '}', '*', '?', ';']) => {
                let clean =
                    normalised(&format!("/{segment}")).map_err(|error| error.to_string())?.into_owned();
                Ok(Some(clean.trim_start_matches('/').to_owned()))
            }
            _ => Err(format!("`{segment}` is neither a word nor a `{{placeholder}}`")),
        };
        let segments = text.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(read).collect::<Result<Vec<_>, _>>()?;
        if segments.iter().flatten().any(String::is_empty) {
            return Err("a path of a route has no `.` or `..`".to_owned());
        }
        Ok(Self { text: text.to_owned(), segments, exact })
    }

    fn fits(&self, path: &str) -> bool {
        let mut given = path.split('/').filter(|segment| !segment.is_empty());
        let all = self.segments.iter().all(|wanted| {
            given.next().is_some_and(|given| wanted.as_deref().is_none_or(|wanted| wanted == given))
        });
        all && (!self.exact || given.next().is_none())
    }

    /// Less is more specific.
    fn rank(&self) -> Vec<u8> {
        let segments = self.segments.iter().map(|segment| u8::from(segment.is_none()));
        segments.chain([if self.exact { 2 } else { 3 }]).collect()
    }

    /// Whether it fits the same paths as another.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.segments == other.segments && self.exact == other.exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;

    /// Each route by its name; of the one that a request takes, the name.
    fn taken(routes: &str, requests: &[(&str, &str, &str, Option<&str>)]) {
        let head = "[upstreams.u]\ntargets = [\"http://h:1\"]\n";
        let lines = routes.lines().map(str::trim).filter(|line| !line.is_empty());
        let text: String = lines
            .map(|line| {
                let fields = line.replace("; ", "\n");
                format!("[[routes]]\nupstream = \"u\"\n{fields}\n")
            })
            .collect();
        let rules = Rules::parse(&format!("{head}{text}"), None, &|_| None).unwrap();
        for (method, host, path, name) in requests {
            let path = normalised(path).unwrap();
            let found = rules.matcher.find(host, &path, &method.parse().unwrap());
            assert_eq!(found.ok().map(|route| &*route.name), *name, "{method} {host}{path}");
        }
    }

    #[test]
    fn the_most_specific_route_wins_wherever_it_stands() {
        taken(
            r#"
            name = "rest"; path = "/"
            name = "any-queue"; path = "/q/{queue}"
            name = "post"; path = "/q/{queue}"; methods = ["POST"]
            name = "tasks"; path = "/q/{queue}/tasks"
            name = "one"; path = "/q/one"
            name = "only"; path = "/only"; exact = true
            "#,
            &[
                ("GET", "h", "/", Some("rest")),
                ("OPTIONS", "h", "*", Some("rest")),
                ("GET", "h", "/queue", Some("rest")),
                ("GET", "h", "/q", Some("rest")),
                ("GET", "h", "/q/x", Some("any-queue")),
                ("POST", "h", "/q/x", Some("post")),
                ("POST", "h", "/q/x/tasks", Some("tasks")),
                ("GET", "h", "/q/x/tasks/1", Some("tasks")),
                ("GET", "h", "/q/one/tasks", Some("one")),
                ("GET", "h", "/q//%6fne/", Some("one")),
                ("GET", "h", "/only", Some("only")),
                ("GET", "h", "/only/x", Some("rest")),
                ("GET", "h", "/onlyx", Some("rest")),
            ],
        );
    }

    #[test]
    fn a_host_is_a_name_or_what_lies_below_one() {
        taken(
            r#"
            name = "b"; path = "/"; hosts = ["*.b.org"]
            name = "ab"; path = "/"; hosts = ["A.b.org", "x.org"]
            name = "cb"; path = "/"; hosts = ["*.c.b.org"]
            name = "v6"; path = "/"; hosts = ["[::1]"]
            "#,
            &[
                ("GET", "a.b.org", "/", Some("ab")),
                ("GET", "A.B.ORG.:8080", "/", Some("ab")),
                ("GET", "x.org", "/", Some("ab")),
                ("GET", "z.b.org", "/", Some("b")),
                ("GET", "z.c.b.org", "/", Some("cb")),
                ("GET", "c.b.org", "/", Some("b")),
                ("GET", "b.org", "/", None),
                ("GET", "zb.org", "/", None),
                ("GET", "[::1]:80", "/", Some("v6")),
            ],
        );
    }
}

//! Where Redis is, as its URL says.

use percent_encoding::percent_decode_str;
use std::fmt;
use url::Url;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    /// A name, or an IP address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// `host:port`. The host may be empty or `?`, as in a redirection that means the host that was asked.
    pub(crate) fn parse(text: &str, asked: Option<&Self>) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::new(host.trim_matches(['[', ']']), port.parse().ok()?, asked)
    }

    /// As [`Address::parse`].
    pub(crate) fn new(host: &str, port: u16, asked: Option<&Self>) -> Option<Self> {
        let host = if host.is_empty() || host == "?" { &asked?.host } else { host };
        (port > 0).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the servers stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One server.
    One(Address),
    /// A primary, which the Sentinels know by this name.
    Sentinel { sentinels: Vec<Address>, service: String },
    /// A cluster, of which these nodes are known.
    Cluster { seeds: Vec<Address> },
}

/// What a URL says.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) layout: Layout,
    pub(crate) tls: bool,
    pub(crate) database: u8,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Target {
    /// Reads `<scheme>://[user[:password]@]host[:port][/database][?node=host:port&…][&sentinelServiceName=name]`. An error
    /// says what is wrong in words that hold nothing of the URL, since it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("no URL ({error})"))?;
        let (kind, tls) = match url.scheme() {
            "redis" => (Kind::One, false),
            "rediss" => (Kind::One, true),
            "redis-sentinel" => (Kind::Sentinel, false),
            "rediss-sentinel" => (Kind::Sentinel, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            _ => return Err(format!("its scheme is none of {SCHEMES}")),
        };
        let (default_port, what) = match kind {
            Kind::Sentinel => (26_379, "a Sentinel"),
            Kind::One | Kind::Cluster => (6_379, "a server"),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?;
        let port = url.port().unwrap_or(default_port);
        let first = Address::new(host.trim_matches(['[', ']']), port, None).ok_or("its port is no port")?;
        let (mut nodes, mut service) = (vec![first], None);
        for (key, value) in url.query_pairs() {
            match (&*key, kind) {
                ("node", Kind::Sentinel | Kind::Cluster) => {
                    let node = Address::parse(&value, None);
                    nodes.push(node.ok_or_else(|| format!("a `node` is not the host:port of {what}"))?);
                }
                ("sentinelServiceName", Kind::Sentinel) if !value.is_empty() => {
                    service = Some(value.into_owned());
                }
                _ => {
                    return Err(
                        "it has a parameter that is unknown or does not belong to its scheme".to_owned()
                    );
                }
            }
        }
        let layout = match kind {
            Kind::One => Layout::One(nodes.swap_remove(0)),
            Kind::Cluster => Layout::Cluster { seeds: nodes },
            Kind::Sentinel => Layout::Sentinel {
                sentinels: nodes,
                service: service
                    .ok_or("it lacks ?sentinelServiceName=, the name that Sentinel gives the primary")?,
            },
        };
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            _ if kind == Kind::Cluster => return Err("a cluster has no databases".to_owned()),
            number => number.parse().map_err(|_| "its path is no database number".to_owned())?,
        };
        let (username, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
        Ok(Self { layout, tls, database, username, password })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    Sentinel,
    Cluster,
}

fn decoded(text: &str) -> Result<Option<String>, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "its user or password is not UTF-8".to_owned())?;
    Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
}

const SCHEMES: &str = "redis, rediss, redis-sentinel, rediss-sentinel, redis-cluster, rediss-cluster";

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn each_scheme_says_how_the_servers_stand_together_and_whether_they_speak_tls() {
        let one = Layout::One(address("a", 6_379));
        let sentinel = Layout::Sentinel {
            sentinels: vec![address("a", 26_379), address("b", 5)],
            service: "sluice".to_owned(),
        };
        let cluster = Layout::Cluster { seeds: vec![address("a", 7), address("::1", 8)] };
        for (url, layout, tls) in [
            ("redis://a", &one, false),
            ("rediss://a", &one, true),
            ("redis-sentinel://a?node=b:5&sentinelServiceName=sluice", &sentinel, false),
            ("rediss-sentinel://a?sentinelServiceName=sluice&node=b:5", &sentinel, true),
            ("redis-cluster://a:7?node=[::1]:8", &cluster, false),
            ("rediss-cluster://a:7/?node=[::1]:8", &cluster, true),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((&target.layout, target.tls), (layout, tls), "{url}");
        }
    }

    #[test]
    fn a_url_may_hold_a_user_a_password_and_a_database() {
        let target = Target::parse("redis://me:p%40ss%2Fword@[::1]:7/3").unwrap();
        assert_eq!(target.layout, Layout::One(address("::1", 7)));
        assert_eq!((target.username.as_deref(), target.password.as_deref()), (Some("me"), Some("p@ss/word")));
        assert_eq!(target.database, 3);
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_the_password_in_it() {
        for (url, says) in [
            ("http://me:hunter2@a", "scheme"),
            ("me:hunter2@a", "scheme"),
            ("hunter2", "no URL"),
            ("redis://me:hunter2@a:99999", "no URL"),
            ("redis://me:hunter2@a/x", "database"),
            ("redis-cluster://me:hunter2@a/1", "database"),
            ("redis://me:hunter2@a?node=b:1", "parameter"),
            ("redis-cluster://me:hunter2@a?node=hunter2", "node"),
            ("redis-cluster://me:hunter2@a?hunter2=1", "parameter"),
            ("redis-sentinel://me:hunter2@a", "sentinelServiceName"),
            ("redis-sentinel://me:hunter2@a?sentinelServiceName=", "parameter"),
            ("redis://me:hunter2%ff@a", "UTF-8"),
            ("redis://", "host"),
        ] {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn a_redirection_without_a_host_means_the_host_that_was_asked() {
        let asked = address("here", 1);
        for (text, found) in [
            ("there:2", Some(address("there", 2))),
            ("[::1]:2", Some(address("::1", 2))),
            (":2", Some(address("here", 2))),
            ("?:2", Some(address("here", 2))),
            ("there:0", None),
            ("there", None),
        ] {
            assert_eq!(Address::parse(text, Some(&asked)), found, "{text}");
        }
    }
}

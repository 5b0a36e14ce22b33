//! Asks who is primary: Sentinels, or the nodes of a cluster.
//!
//! All that are known are asked at once, so that one which is stopped or cut off delays nobody, and one that remembers
//! wrongly is outvoted. The client's own discovery asks one after the other, and believes the first.

use crate::config::{RedisConfig, expose, without_password};
use crate::target::{Address, Layout, Target};
use crate::tls::Tls;
use crate::wire::{Login, Wire};
use crate::{RedisError, Reply};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Everything that a new connection needs to know.
pub(crate) struct Finder {
    pub(crate) config: RedisConfig,
    target: Result<Target, RedisError>,
    tls: Tls,
    /// What a Sentinel said last, and the connection to it.
    look: tokio::sync::Mutex<Look>,
    /// Those that were found beside those of the configuration, which are never forgotten.
    others: Mutex<BTreeSet<Address>>,
}

#[derive(Default)]
struct Look {
    at: Option<Instant>,
    named: Option<Address>,
    wire: Option<Wire>,
}

/// A primary of a cluster, and its slots: first and last.
pub(crate) type Primaries = BTreeMap<Address, Vec<(u16, u16)>>;

impl Finder {
    pub(crate) fn new(config: RedisConfig) -> Self {
        let target = Target::parse(&config.url).map_err(|reason| {
            RedisError::Reply(format!("wrong redis url {}: {reason}", without_password(&config.url)))
        });
        if let Err(error) = &target {
            tracing::error!(error = %error, "{error}");
        }
        let tls = Tls::new(config.tls.clone());
        Self { config, target, tls, look: tokio::sync::Mutex::default(), others: Mutex::default() }
    }

    pub(crate) fn target(&self) -> Result<&Target, RedisError> {
        self.target.as_ref().map_err(RedisError::clone)
    }

    /// For a new connection: none where the URL asks for no TLS. The files are read again when they have changed.
    pub(crate) fn tls(&self) -> Result<Option<Arc<ClientConfig>>, RedisError> {
        if self.target()?.tls { self.tls.current().map(Some).map_err(RedisError::Reply) } else { Ok(None) }
    }

    /// For a new connection to a server. The file of the password is read each time, so that it may be changed.
    pub(crate) fn login(&self) -> Result<Login, RedisError> {
        let target = self.target()?;
        let password = self.config.read_password().map_err(|error| unreadable("password_file", &error))?;
        Ok(Login {
            username: self.config.username.clone().or_else(|| target.username.clone()),
            password: password.as_ref().map(expose).or_else(|| target.password.clone()),
        })
    }

    fn sentinel_login(&self) -> Result<Login, RedisError> {
        let password = self.config.read_sentinel_password();
        let password = password.map_err(|error| unreadable("sentinel_password_file", &error))?;
        let username = self.config.sentinel_username.clone();
        Ok(Login { username, password: password.as_ref().map(expose) })
    }

    /// How long a try to connect may take.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.config.connect_timeout_ms)
    }

    /// The primary that most Sentinels name, and that says itself that it is one.
    pub(crate) async fn primary(&self) -> Result<Address, RedisError> {
        let Layout::Sentinel { sentinels, service } = &self.target()?.layout else {
            return Err(RedisError::Protocol("no Sentinel is configured".to_owned()));
        };
        let login = self.sentinel_login()?;
        let known = self.known(sentinels);
        let mut votes: BTreeMap<Address, usize> = BTreeMap::new();
        let asking = known.iter().map(|sentinel| self.ask_sentinel(sentinel, &login, service));
        for (primary, others) in self.of_most(asking.collect()).await? {
            *votes.entry(primary).or_default() += 1;
            self.remember(others);
        }
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        for (address, _) in votes {
            if self.is_primary(&address).await? {
                return Ok(address);
            }
        }
        Err(RedisError::away())
    }

    /// Returns when the Sentinels have made another server the primary, which the old one may not know for ten seconds:
    /// what it acknowledges meanwhile is lost. Never returns where there are no Sentinels.
    pub(crate) async fn until_replaced(&self, address: &Address) {
        let Ok(Target { layout: Layout::Sentinel { sentinels, service }, .. }) = self.target() else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            let named = self.named(sentinels, service).await;
            if named.is_some_and(|named| named != *address)
                && self.primary().await.is_ok_and(|primary| primary != *address)
            {
                return;
            }
        }
    }

    /// The primary that one of the Sentinels names; asked once for all connections.
    async fn named(&self, sentinels: &[Address], service: &str) -> Option<Address> {
        let mut look = self.look.lock().await;
        if look.at.is_some_and(|at| at.elapsed() < LOOK / 2) {
            return look.named.clone();
        }
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service];
        // Taken out, so that one which was left in the middle of a question is not asked another.
        if let Some(mut wire) = look.wire.take()
            && let Ok(Ok(answer)) = tokio::time::timeout(self.patience() / 2, wire.ask(&words)).await
        {
            look.wire = Some(wire);
            look.named = named(answer, &sentinels[0]).ok();
        } else {
            for sentinel in self.known(sentinels) {
                let opening = async { Wire::open(&sentinel, self.tls()?, &self.sentinel_login()?).await };
                if let Ok(Ok(wire)) = tokio::time::timeout(self.patience() / 2, opening).await {
                    // Its answer comes with the next look.
                    look.wire = Some(wire);
                    break;
                }
            }
        }
        look.at = Some(Instant::now());
        look.named.clone()
    }

    async fn ask_sentinel(
        &self,
        sentinel: &Address,
        login: &Login,
        service: &str,
    ) -> Result<(Address, Vec<Address>), RedisError> {
        let mut wire = Wire::open(sentinel, self.tls()?, login).await?;
        let primary = wire.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]).await?.ok()?;
        let primary = named(primary, sentinel)?;
        let others = wire.ask(&["SENTINEL", "SENTINELS", service]).await?.ok()?;
        Ok((primary, sentinels_of(others)))
    }

    /// Says that it is no primary, too, when it says nothing.
    async fn is_primary(&self, address: &Address) -> Result<bool, RedisError> {
        let login = self.login()?;
        let ask = async {
            let mut wire = Wire::open(address, self.tls()?, &login).await?;
            wire.ask(&["ROLE"]).await?.ok()?.into_array()
        };
        match tokio::time::timeout(self.patience() / 2, ask).await {
            Ok(Ok(role)) => Ok(role.first().is_some_and(|role| role.word() == "master")),
            // We are not let in: that is worth knowing.
            Ok(Err(RedisError::Reply(text))) => Err(RedisError::Reply(text)),
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// Who owns which slots, as the node with the latest knowledge says.
    pub(crate) async fn primaries(&self) -> Result<Primaries, RedisError> {
        let Layout::Cluster { seeds } = &self.target()?.layout else {
            return Err(RedisError::Protocol("no cluster is configured".to_owned()));
        };
        let login = self.login()?;
        let known = self.known(seeds);
        let asking = known.iter().map(|node| self.ask_node(node, &login));
        let answers = self.of_most(asking.collect()).await?;
        let answers = answers.into_iter().filter(|(_, owners)| !owners.is_empty());
        let (_, latest) = answers.max_by_key(|(epoch, _)| *epoch).ok_or_else(RedisError::away)?;
        self.remember(latest.keys().cloned().collect());
        Ok(latest)
    }

    async fn ask_node(&self, node: &Address, login: &Login) -> Result<(u64, Primaries), RedisError> {
        let mut wire = Wire::open(node, self.tls()?, login).await?;
        let info = wire.ask(&["CLUSTER", "INFO"]).await?.ok()?.into_string()?;
        let slots = wire.ask(&["CLUSTER", "SLOTS"]).await?.ok()?;
        Ok((epoch(&info), owners(slots, node)?))
    }

    /// Asks all at once; enough when more than half have answered, else when all have had their time.
    async fn of_most<T>(
        &self,
        asking: Vec<impl Future<Output = Result<T, RedisError>>>,
    ) -> Result<Vec<T>, RedisError> {
        let most = asking.len() / 2;
        let in_time = asking.into_iter().map(|ask| tokio::time::timeout(self.patience() / 2, ask));
        let mut asking: FuturesUnordered<_> = in_time.collect();
        let (mut answers, mut refused) = (Vec::new(), None);
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(RedisError::Unavailable { .. })) | Err(_) => {}
                Ok(Err(error)) => refused = Some(error),
            }
            if answers.len() > most {
                break;
            }
        }
        match refused {
            Some(error) if answers.is_empty() => Err(error),
            _ if answers.is_empty() => Err(RedisError::away()),
            _ => Ok(answers),
        }
    }

    fn known(&self, configured: &[Address]) -> BTreeSet<Address> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        configured.iter().chain(others.iter()).cloned().collect()
    }

    /// The last ones: who is gone is forgotten as others come.
    fn remember(&self, found: Vec<Address>) {
        if found.is_empty() {
            return;
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() + found.len() > MOST_OTHERS {
            others.clear();
        }
        others.extend(found.into_iter().take(MOST_OTHERS));
    }
}

fn unreadable(setting: &str, error: &std::io::Error) -> RedisError {
    RedisError::Reply(format!("redis.{setting} can't be read: {error}"))
}

/// `[host, port]`.
fn named(reply: Reply, asked: &Address) -> Result<Address, RedisError> {
    let parts = reply.into_array()?;
    let [host, port] = parts.as_slice() else {
        return Err(RedisError::Reply("the Sentinels know no primary of that name".to_owned()));
    };
    let port = port.word().parse().unwrap_or_default();
    Address::new(host.word(), port, Some(asked)).ok_or_else(|| RedisError::Protocol("no address".to_owned()))
}

/// Each is a map, as a list of names and values.
fn sentinels_of(reply: Reply) -> Vec<Address> {
    let address = |fields: Reply| {
        let fields = fields.into_array().ok()?;
        let field = |name: &str| Some(fields.chunks(2).find(|pair| pair[0].word() == name)?.get(1)?.word());
        Address::new(field("ip")?, field("port")?.parse().ok()?, None)
    };
    reply.into_array().unwrap_or_default().into_iter().filter_map(address).collect()
}

fn epoch(info: &str) -> u64 {
    let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
    epoch.and_then(|epoch| epoch.trim().parse().ok()).unwrap_or_default()
}

/// Ranges of `CLUSTER SLOTS`: `[first, last, [host, port, id, …], replicas…]`.
fn owners(reply: Reply, asked: &Address) -> Result<Primaries, RedisError> {
    let wrong = || RedisError::Protocol("slots without a primary".to_owned());
    let mut owners = Primaries::new();
    for range in reply.into_array()? {
        let mut parts = range.into_array()?.into_iter();
        let (Some(first), Some(last), Some(primary)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let slot = |number: Reply| {
            let slot = u16::try_from(number.into_int()?).ok().filter(|slot| *slot < SLOTS);
            slot.ok_or_else(|| RedisError::Protocol("a slot beyond the last".to_owned()))
        };
        let mut primary = primary.into_array()?.into_iter();
        let (Some(host), Some(port)) = (primary.next(), primary.next()) else { return Err(wrong()) };
        let port = u16::try_from(port.into_int()?).unwrap_or_default();
        let address = Address::new(host.word(), port, Some(asked)).ok_or_else(wrong)?;
        owners.entry(address).or_default().push((slot(first)?, slot(last)?));
    }
    Ok(owners)
}

pub(crate) const SLOTS: u16 = 16_384;
const MOST_OTHERS: usize = 64;
/// How often a Sentinel is asked whether the primary is another.
const LOOK: Duration = Duration::from_millis(500);

//! Affinity: each thread keeps to one connection; and on a cluster, to the server that owns the slot.
//!
//! A pool that spreads commands round robin costs up to half of the throughput, as each command becomes a system
//! call of its own. On one connection concurrent commands share a write; only when very many are in flight there, the
//! next one is used. A connection is made by the first thread that needs it, and driven by that thread's runtime, so
//! that no command crosses threads.

use crate::connection::{Connection, Place, blob, place};
use crate::finder::{Finder, Primaries, SLOTS};
use crate::target::{Address, Layout, Target};
use crate::{PoolUsage, RedisError, Reply};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use fred::types::Value;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

/// The connections for commands to everything that one URL means.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    finder: Arc<Finder>,
    size: NonZeroUsize,
    /// Looks for the primaries in the background.
    tasks: TaskTracker,
    map: ArcSwap<Map>,
    finding: tokio::sync::Mutex<Option<Instant>>,
    /// A task is looking, or about to.
    is_suspect: AtomicBool,
}

/// Who serves what.
#[derive(Clone, Default)]
struct Map {
    servers: Vec<Arc<Server>>,
    /// On a cluster: for each slot the index of its primary, or [`NOBODY`].
    owners: Option<Box<[u8]>>,
}

/// The connections to one server.
struct Server {
    place: Place,
    slots: Vec<ArcSwapOption<Connection>>,
    opening: Mutex<()>,
}

impl Pool {
    /// `size` connections to each server.
    pub(crate) fn new(finder: Arc<Finder>, size: NonZeroUsize, tasks: TaskTracker) -> Self {
        let only = finder.target().ok().and_then(|target| place(&target.layout));
        let servers = only.map(|place| Arc::new(Server::new(place, size))).into_iter().collect();
        let map = ArcSwap::from_pointee(Map { servers, owners: None });
        let (finding, is_suspect) = (tokio::sync::Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Shared { finder, size, tasks, map, finding, is_suspect }))
    }

    pub(crate) fn is_clustered(&self) -> bool {
        matches!(self.0.finder.target(), Ok(Target { layout: Layout::Cluster { .. }, .. }))
    }

    /// Sends one command to whoever owns the slot, and waits for its answer, `within` or the default time. An `Err` means
    /// that none came; an error that the server answered with is a [`Reply::Error`].
    ///
    /// A server that does not own the slot says so before it does anything: then the command goes on to the one that it
    /// names. Nothing else is ever sent twice.
    pub(crate) async fn send(
        &self,
        command: &'static str,
        slot: Option<u16>,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        let Some(owners) = self.clustered().await? else {
            let server = self.0.only()?;
            let answer = self.0.at(&server)?.send(command, args, within).await;
            self.0.note_only(&server, &answer);
            return answer;
        };
        // Apart, so that a call to a single server is not as large as one that follows redirections.
        Box::pin(self.send_to_owner(&owners, command, slot, args, within)).await
    }

    async fn send_to_owner(
        &self,
        owners: &Map,
        command: &'static str,
        slot: Option<u16>,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        let begun = Instant::now();
        let patience = within.unwrap_or_else(|| self.0.finder.config.command_timeout());
        let mut next = (owners.server(slot).ok_or_else(RedisError::away)?, false);
        for _ in 0..MOST_HOPS {
            let (server, asking) = next;
            let left = patience.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
            let connection = self.0.at(&server)?;
            let answer = if asking {
                connection.send_asking(command, args.clone(), Some(left)).await
            } else {
                connection.send(command, args.clone(), Some(left)).await
            };
            next = match (self.0.turn(&server, slot, &answer), slot) {
                (Turn::Answered, _) | (_, None) => return answer,
                (Turn::Moved(address), Some(slot)) => (self.0.learn(slot, address), false),
                (Turn::Ask(address), Some(_)) => (self.0.server_at(address), true),
                (Turn::Wait, Some(_)) if patience.saturating_sub(begun.elapsed()) > TRY_AGAIN * 2 => {
                    tokio::time::sleep(TRY_AGAIN).await;
                    (server, asking)
                }
                (Turn::Wait, Some(_)) => return answer,
            };
        }
        Err(RedisError::away())
    }

    /// See [`Connection::get`].
    pub(crate) async fn get(&self, slot: u16, key: &Bytes) -> Result<Reply, RedisError> {
        match self.clustered().await? {
            None => {
                let server = self.0.only()?;
                let answer = self.0.at(&server)?.get(key).await;
                self.0.note_only(&server, &answer);
                answer
            }
            Some(owners) => Box::pin(self.get_from_owner(&owners, slot, key)).await,
        }
    }

    async fn get_from_owner(&self, owners: &Map, slot: u16, key: &Bytes) -> Result<Reply, RedisError> {
        let server = owners.server(Some(slot)).ok_or_else(RedisError::away)?;
        let answer = self.0.at(&server)?.get(key).await;
        match self.0.turn(&server, Some(slot), &answer) {
            Turn::Answered => answer,
            // A read may be repeated, and then has a redirection followed.
            _ => self.send_to_owner(owners, "GET", Some(slot), vec![blob(key)], None).await,
        }
    }

    /// A slot of each server that holds keys; none of a server that is no cluster. Asks a cluster who they are.
    pub(crate) async fn a_slot_of_each_server(&self) -> Result<Vec<Option<u16>>, RedisError> {
        if self.clustered().await?.is_none() {
            return Ok(vec![None]);
        }
        self.0.find().await?;
        let map = self.0.map.load();
        let owners = map.owners.as_deref().unwrap_or_default();
        let mut seen = BTreeSet::new();
        let first_of_each =
            (0..SLOTS).zip(owners).filter(|(_, owner)| **owner != NOBODY && seen.insert(**owner));
        Ok(first_of_each.map(|(slot, _)| Some(slot)).collect())
    }

    /// Tries at once to get back what is down, rather than after its pause, and waits until it is there, or for so long.
    pub(crate) async fn renew(&self, longest: Duration) {
        let down = || {
            let map = self.0.map.load();
            let slots = map.servers.iter().flat_map(|server| &server.slots);
            let open = slots.filter_map(ArcSwapOption::load_full);
            open.filter(|connection| connection.is_down() && !connection.is_dead()).collect::<Vec<_>>()
        };
        let all = async {
            down().iter().for_each(|connection| connection.hurry());
            while !down().is_empty() {
                tokio::time::sleep(A_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(longest, all).await;
    }

    pub(crate) fn usage(&self) -> PoolUsage {
        let map = self.0.map.load();
        let slots = || map.servers.iter().flat_map(|server| &server.slots);
        let open: Vec<_> = slots().filter_map(ArcSwapOption::load_full).collect();
        let in_flight = open.iter().map(|connection| connection.in_flight()).sum();
        PoolUsage { size: slots().count(), open: open.len(), in_flight }
    }

    /// Closes what is open. What is sent later opens anew.
    pub(crate) async fn close(&self) {
        for server in &self.0.map.load_full().servers {
            for slot in &server.slots {
                if let Some(connection) = slot.swap(None) {
                    connection.close().await;
                }
            }
        }
    }

    /// The map of a cluster, which is asked for when it is first needed; none when there is but one server.
    async fn clustered(&self) -> Result<Option<Arc<Map>>, RedisError> {
        let map = self.0.map.load();
        if !map.servers.is_empty() {
            return Ok(map.owners.is_some().then(|| arc_swap::Guard::into_inner(map)));
        }
        drop(map);
        Box::pin(self.0.find()).await?;
        Ok(Some(self.0.map.load_full()))
    }
}

/// Ends with its task, also when that ends with its runtime. What comes later suspects anew.
struct Suspicion(Arc<Shared>);

impl Drop for Suspicion {
    fn drop(&mut self) {
        self.0.is_suspect.store(false, Ordering::Release);
    }
}

/// What to do after an answer.
enum Turn {
    Answered,
    /// Another server owns the slot.
    Moved(Address),
    /// Another server is about to own the slot, and has this key already.
    Ask(Address),
    /// The slot's keys are half here, half there: nobody can run this now.
    Wait,
}

impl Shared {
    fn only(&self) -> Result<Arc<Server>, RedisError> {
        self.finder.target()?;
        self.map.load().servers.first().map(Arc::clone).ok_or_else(RedisError::away)
    }

    /// A primary that became a replica keeps its connections: the Sentinels know the new one.
    fn note_only(&self, server: &Server, answer: &Result<Reply, RedisError>) {
        if server.place == Place::Primary
            && matches!(answer, Ok(Reply::Error(text)) if text.starts_with("READONLY"))
        {
            for connection in server.slots.iter().filter_map(ArcSwapOption::load_full) {
                connection.renew();
            }
        }
    }

    fn turn(
        self: &Arc<Self>,
        server: &Server,
        slot: Option<u16>,
        answer: &Result<Reply, RedisError>,
    ) -> Turn {
        let text = match answer {
            Ok(Reply::Error(text)) => text,
            Ok(_) | Err(RedisError::Overloaded | RedisError::Protocol(_)) => return Turn::Answered,
            // The server may be gone for good.
            Err(_) => {
                self.suspect();
                return Turn::Answered;
            }
        };
        let asked = match &server.place {
            Place::At(address) => Some(address),
            Place::Primary => None,
        };
        let mut words = text.split(' ');
        let (word, address) = (words.next().unwrap_or_default(), words.nth(1));
        match (word, address.and_then(|address| Address::parse(address, asked)), slot) {
            ("MOVED", Some(address), Some(_)) => {
                self.suspect();
                Turn::Moved(address)
            }
            ("ASK", Some(address), Some(_)) => Turn::Ask(address),
            ("TRYAGAIN", ..) => Turn::Wait,
            ("READONLY" | "CLUSTERDOWN" | "MASTERDOWN", ..) => {
                self.suspect();
                Turn::Answered
            }
            _ => Turn::Answered,
        }
    }

    /// Looks for the primaries again, soon and once, in a task of its own.
    fn suspect(self: &Arc<Self>) {
        if self.is_suspect.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(self);
        let suspicion = Suspicion(shared);
        let _joined_by_close = self.tasks.spawn(async move {
            if let Err(error) = suspicion.0.find().await {
                tracing::debug!(error = %error, "cannot find the primaries of the cluster: {error}");
            }
        });
    }

    /// Asks who the primaries are. Whoever comes while another asks waits for that answer; and nobody asks again at once.
    async fn find(&self) -> Result<(), RedisError> {
        self.finder.target()?;
        let mut last = self.finding.lock().await;
        if let Some(last) = *last
            && last.elapsed() < FRESH
            && !self.map.load().servers.is_empty()
        {
            return Ok(());
        }
        let found = self.finder.primaries().await;
        *last = Some(Instant::now());
        let found = found?;
        self.change(|map| {
            let servers = map.servers.clone();
            *map = Map { servers: Vec::new(), owners: Some(vec![NOBODY; usize::from(SLOTS)].into()) };
            self.fill(map, &servers, &found);
        });
        Ok(())
    }

    fn fill(&self, map: &mut Map, before: &[Arc<Server>], found: &Primaries) {
        for (address, ranges) in found {
            let place = Place::At(address.clone());
            // Its connections live on.
            let server = before.iter().find(|server| server.place == place).map(Arc::clone);
            map.servers.push(server.unwrap_or_else(|| self.new_server(place)));
            let index = u8::try_from(map.servers.len() - 1).unwrap_or(NOBODY);
            let Some(owners) = &mut map.owners else { continue };
            for (first, last) in ranges {
                if let Some(owned) = owners.get_mut(usize::from(*first)..=usize::from(*last)) {
                    owned.fill(index);
                }
            }
        }
    }

    /// A slot has another owner: what the server said itself.
    fn learn(&self, slot: u16, address: Address) -> Arc<Server> {
        let server = self.server_at(address);
        self.change(|map| {
            let index = map.servers.iter().position(|known| known.place == server.place);
            if let (Some(owners), Some(Ok(index))) = (&mut map.owners, index.map(u8::try_from)) {
                owners[usize::from(slot)] = index;
            }
        });
        server
    }

    /// One that is not known yet is kept: it may own nothing, and is about to.
    fn server_at(&self, address: Address) -> Arc<Server> {
        let place = Place::At(address);
        let known = |map: &Map| map.servers.iter().find(|server| server.place == place).map(Arc::clone);
        if let Some(server) = known(&self.map.load()) {
            return server;
        }
        let server = self.new_server(place.clone());
        self.change(|map| {
            if known(map).is_none() {
                map.servers.push(Arc::clone(&server));
            }
        });
        known(&self.map.load()).unwrap_or(server)
    }

    fn new_server(&self, place: Place) -> Arc<Server> {
        Arc::new(Server::new(place, self.size))
    }

    fn change(&self, change: impl Fn(&mut Map)) {
        self.map.rcu(|map| {
            let mut map = Map::clone(map);
            change(&mut map);
            map
        });
    }

    /// The connection to use now, on this thread.
    fn at(&self, server: &Server) -> Result<Arc<Connection>, RedisError> {
        // Said by every call, rather than by a connection that can't come to be.
        self.finder.target()?;
        Ok(server.connection(&self.finder))
    }
}

impl Map {
    /// Who owns the slot; any server where it does not matter.
    fn server(&self, slot: Option<u16>) -> Option<Arc<Server>> {
        let server = match (slot, &self.owners) {
            (Some(slot), Some(owners)) => self.servers.get(usize::from(*owners.get(usize::from(slot))?)),
            _ => self.servers.iter().find(|server| !server.is_down()).or(self.servers.first()),
        };
        server.map(Arc::clone)
    }
}

impl Server {
    fn new(place: Place, size: NonZeroUsize) -> Self {
        Self {
            place,
            slots: (0..size.get()).map(|_| ArcSwapOption::empty()).collect(),
            opening: Mutex::new(()),
        }
    }

    fn is_down(&self) -> bool {
        self.slots.iter().any(|slot| slot.load().as_ref().is_some_and(|connection| connection.is_down()))
    }

    fn connection(&self, finder: &Arc<Finder>) -> Arc<Connection> {
        let home = home() % self.slots.len();
        let connection = self.at(home, finder);
        if connection.in_flight() < CROWDED {
            return connection;
        }
        // Crowded: the least busy of those that exist, or the next that does not.
        let mut best = connection;
        for step in 1..self.slots.len() {
            let next = self.at((home + step) % self.slots.len(), finder);
            if next.in_flight() < CROWDED {
                return next;
            }
            if next.in_flight() < best.in_flight() {
                best = next;
            }
        }
        best
    }

    fn at(&self, index: usize, finder: &Arc<Finder>) -> Arc<Connection> {
        let slot = &self.slots[index];
        if let Some(connection) = slot.load_full().filter(|connection| !connection.is_dead()) {
            return connection;
        }
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.load_full().filter(|connection| !connection.is_dead()) {
            return connection;
        }
        let connection = Arc::new(Connection::open(Arc::clone(finder), self.place.clone()));
        slot.store(Some(Arc::clone(&connection)));
        connection
    }
}

/// This thread's number: threads are counted as they first come here.
pub(crate) fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<Option<usize>> = const { Cell::new(None) };
    }
    HOME.with(|home| {
        home.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            home.set(Some(number));
            number
        })
    })
}

/// How often a connection that comes back is looked for.
const A_LOOK: Duration = Duration::from_millis(2);
const CROWDED: usize = 256;
const NOBODY: u8 = u8::MAX;
/// Redirections of one command; slots that move on and on are not followed for ever.
const MOST_HOPS: usize = 16;
/// Between tries while a slot's keys are half here, half there.
const TRY_AGAIN: Duration = Duration::from_millis(25);
/// How long nobody asks again who the primaries are.
const FRESH: Duration = Duration::from_millis(100);

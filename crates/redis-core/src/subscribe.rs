//! Sharded subscriptions: one connection to each server that has any, made again after a loss with every channel.
//!
//! What comes through here is a hint, never the truth: a message may be lost at any time, and then the subscriber
//! hears of a gap and reads again.

use crate::connection::{pause, slot};
use crate::finder::{Finder, Primaries};
use crate::line::{Event, Line};
use crate::target::{Address, Layout};
use crate::{Channel, RedisError};
use bytes::Bytes;
use rand::RngExt;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A message.
    Message(Bytes),
    /// Something may be missing: a connection was lost and made again, or this subscriber was too slow.
    Gap,
}

/// One subscriber of one channel. Dropping it unsubscribes, when it was the channel's last.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    channel: Channel,
    hints: mpsc::Receiver<Bytes>,
    gap: Arc<tokio::sync::Notify>,
    orders: mpsc::Sender<Order>,
}

impl Subscription {
    /// The next hint. May be dropped at any time without losing one.
    pub async fn recv(&mut self) -> Hint {
        tokio::select! {
            biased;
            () = self.gap.notified() => Hint::Gap,
            Some(message) = self.hints.recv() => Hint::Message(message),
            // The subscriber task has ended: nothing will come any more.
            else => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let order = Order::Unsubscribe { channel: self.channel.clone(), id: self.id };
        // Full: the task sees a closed receiver at the channel's next message, and forgets it then.
        let _ = self.orders.try_send(order);
    }
}

#[derive(Debug)]
enum Order {
    Subscribe { channel: Channel, answer: oneshot::Sender<Result<Subscription, RedisError>> },
    Unsubscribe { channel: Channel, id: u64 },
}

/// Starts its task with the first subscription.
pub(crate) struct Subscriber {
    finder: Arc<Finder>,
    tasks: TaskTracker,
    stop: CancellationToken,
    orders: Mutex<Option<mpsc::Sender<Order>>>,
}

impl Subscriber {
    pub(crate) fn new(finder: Arc<Finder>, tasks: TaskTracker) -> Self {
        Self { finder, tasks, stop: CancellationToken::new(), orders: Mutex::default() }
    }

    pub(crate) async fn subscribe(&self, channel: &Channel) -> Result<Subscription, RedisError> {
        self.finder.target()?;
        let (answer, answered) = oneshot::channel();
        let order = Order::Subscribe { channel: channel.clone(), answer };
        let asked = async {
            self.orders().send(order).await.map_err(|_| RedisError::away())?;
            answered.await.unwrap_or(Err(RedisError::Unknown))
        };
        // Safe to drop: the task sees that nobody waits, and undoes it.
        tokio::time::timeout(CONFIRM, asked).await.unwrap_or_else(|_| Err(RedisError::away()))
    }

    /// To the task; to a new one when its runtime has ended.
    fn orders(&self) -> mpsc::Sender<Order> {
        let mut current = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = current.as_ref().filter(|orders| !orders.is_closed()) {
            return orders.clone();
        }
        let (orders, received) = mpsc::channel(ORDERS);
        let task = Task::new(Arc::clone(&self.finder), orders.downgrade());
        let stop = self.stop.clone();
        let _joined_by_close = self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run(received) => {}
            }
        });
        current.insert(orders).clone()
    }

    pub(crate) fn close(&self) {
        self.stop.cancel();
    }
}

type Answer = oneshot::Sender<Result<Subscription, RedisError>>;

/// What is known of a channel.
#[derive(Default)]
struct Subscribed {
    listeners: Vec<Listener>,
    /// Those who wait for the server to confirm it.
    waiting: Vec<Answer>,
    /// The server that was asked for it, and whether it has confirmed. None: it has to be asked.
    home: Option<(Address, bool)>,
}

struct Listener {
    id: u64,
    hints: mpsc::Sender<Bytes>,
    gap: Arc<tokio::sync::Notify>,
}

/// Which server has which channels.
enum Routes {
    Same(Address),
    BySlot(Primaries),
}

impl Routes {
    fn server(&self, channel: &Channel) -> Option<&Address> {
        match self {
            Self::Same(address) => Some(address),
            Self::BySlot(primaries) => {
                let slot = slot(channel.as_str().as_bytes());
                let owns = |ranges: &Vec<(u16, u16)>| {
                    ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot))
                };
                primaries.iter().find(|(_, ranges)| owns(ranges)).map(|(address, _)| address)
            }
        }
    }
}

type Search = Pin<Box<dyn Future<Output = Result<Routes, RedisError>> + Send>>;

struct Task {
    finder: Arc<Finder>,
    orders: mpsc::WeakSender<Order>,
    channels: HashMap<Channel, Subscribed>,
    lines: HashMap<Address, Line>,
    running: JoinSet<()>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    /// None: to be found anew before a channel is placed.
    routes: Option<Routes>,
    search: Option<Search>,
    /// Channels without a home are placed at this moment.
    again_at: Option<Instant>,
    failures: u32,
    next: u64,
}

impl Task {
    fn new(finder: Arc<Finder>, orders: mpsc::WeakSender<Order>) -> Self {
        Self {
            finder,
            orders,
            channels: HashMap::new(),
            lines: HashMap::new(),
            running: JoinSet::new(),
            events: mpsc::channel(EVENTS),
            routes: None,
            search: None,
            again_at: None,
            failures: 0,
            next: 0,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! { // Every branch may be dropped: none has taken anything yet.
                found = searched(&mut self.search) => {
                    self.search = None;
                    self.take_routes(found);
                }
                Some(event) = self.events.1.recv() => self.heard(event),
                () = moment(self.again_at) => self.place_all(),
                Some(_) = self.running.join_next() => {}
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Subscribe { channel, answer } => {
                let subscribed = self.channels.entry(channel.clone()).or_default();
                subscribed.waiting.push(answer);
                match subscribed.home {
                    Some((_, true)) => self.confirmed(&channel),
                    Some((_, false)) => {}
                    // After the pause, when there is one: the servers are away.
                    None if self.again_at.is_some() || self.search.is_some() => {}
                    None => self.place_all(),
                }
            }
            Order::Unsubscribe { channel, id } => {
                let Entry::Occupied(mut entry) = self.channels.entry(channel.clone()) else { return };
                entry.get_mut().listeners.retain(|listener| listener.id != id);
                if entry.get().listeners.is_empty() && entry.get().waiting.is_empty() {
                    let home = entry.remove().home;
                    if let Some(line) = home.and_then(|(address, _)| self.lines.get(&address)) {
                        line.unsubscribe(channel);
                    }
                }
            }
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Message(channel, bytes) => self.deliver(&channel, &bytes),
            Event::Confirmed(address, channel) => {
                if let Some(subscribed) = self.channels.get_mut(&channel)
                    && subscribed.home.as_ref().is_some_and(|(home, _)| *home == address)
                {
                    subscribed.home = Some((address, true));
                    // What was published meanwhile is lost.
                    subscribed.listeners.iter().for_each(|listener| listener.gap.notify_one());
                    self.failures = 0;
                    self.confirmed(&channel);
                }
            }
            Event::Refused(address, channel, error) => {
                let Some(subscribed) = self.channels.get_mut(&channel) else { return };
                if subscribed.home.as_ref().is_some_and(|(home, _)| *home == address) {
                    subscribed.home = None;
                    if let RedisError::Reply(_) = error {
                        subscribed.waiting.drain(..).for_each(|answer| drop(answer.send(Err(error.clone()))));
                    }
                    self.place_again();
                }
            }
            // Its slot has moved, unless it was us who asked for it.
            Event::Ended(address, channel) => {
                if let Some(subscribed) = self.channels.get_mut(&channel)
                    && subscribed.home == Some((address, true))
                {
                    subscribed.home = None;
                    self.place_again();
                }
            }
            Event::Lost(address, error) => {
                self.lines.remove(&address);
                for subscribed in self.channels.values_mut() {
                    if subscribed.home.as_ref().is_some_and(|(home, _)| *home == address) {
                        subscribed.home = None;
                        if let RedisError::Reply(_) = error {
                            subscribed
                                .waiting
                                .drain(..)
                                .for_each(|answer| drop(answer.send(Err(error.clone()))));
                        }
                    }
                }
                self.place_again();
            }
        }
    }

    /// Looks for the servers again, and gives every channel without a home to its own: soon at first, then more and more
    /// slowly.
    fn place_again(&mut self) {
        self.routes = None;
        if self.again_at.is_none() && self.search.is_none() {
            self.failures += 1;
            self.again_at =
                Some(Instant::now() + pause(self.failures, rand::rng().random_range(0.0..1.0), false));
        }
    }

    fn place_all(&mut self) {
        self.again_at = None;
        self.channels.retain(|_, subscribed| {
            subscribed.waiting.retain(|answer| !answer.is_closed());
            !(subscribed.home.is_none() && subscribed.waiting.is_empty() && subscribed.listeners.is_empty())
        });
        let homeless: Vec<_> =
            self.channels.iter().filter(|(_, subscribed)| subscribed.home.is_none()).collect();
        if homeless.is_empty() {
            return;
        }
        let Some(routes) = &self.routes else {
            self.search = Some(Box::pin(search(Arc::clone(&self.finder))));
            return;
        };
        let homes: Vec<_> = homeless
            .into_iter()
            .map(|(channel, _)| (channel.clone(), routes.server(channel).cloned()))
            .collect();
        let mut all_placed = true;
        for (channel, home) in homes {
            let placed = home.filter(|home| self.line(home).subscribe(channel.clone()));
            all_placed &= placed.is_some();
            if let Some(subscribed) = self.channels.get_mut(&channel) {
                subscribed.home = placed.map(|home| (home, false));
            }
        }
        if !all_placed {
            self.place_again();
        }
    }

    fn take_routes(&mut self, found: Result<Routes, RedisError>) {
        match found {
            Ok(routes) => {
                self.routes = Some(routes);
                self.place_all();
            }
            Err(error) => {
                if self.failures <= 1 || matches!(error, RedisError::Reply(_)) {
                    tracing::warn!(error = %error, "cannot subscribe: {error}");
                }
                if let RedisError::Reply(_) = error {
                    for subscribed in self.channels.values_mut().filter(|it| it.home.is_none()) {
                        subscribed.waiting.drain(..).for_each(|answer| drop(answer.send(Err(error.clone()))));
                    }
                }
                self.place_again();
            }
        }
    }

    fn line(&mut self, address: &Address) -> &Line {
        self.lines.entry(address.clone()).or_insert_with(|| {
            Line::start(&mut self.running, Arc::clone(&self.finder), address.clone(), self.events.0.clone())
        })
    }

    /// Those who wait become listeners.
    fn confirmed(&mut self, channel: &Channel) {
        let Some(subscribed) = self.channels.get_mut(channel) else { return };
        let Some(orders) = self.orders.upgrade() else { return };
        for answer in subscribed.waiting.drain(..) {
            let (sender, hints) = mpsc::channel(HINTS);
            let (id, gap) = (self.next, Arc::new(tokio::sync::Notify::new()));
            self.next += 1;
            subscribed.listeners.push(Listener { id, hints: sender, gap: Arc::clone(&gap) });
            let (channel, orders) = (channel.clone(), orders.clone());
            // Not taken: dropping the subscription sends the order to unsubscribe.
            let _ = answer.send(Ok(Subscription { id, channel, hints, gap, orders }));
        }
    }

    fn deliver(&mut self, channel: &Channel, bytes: &Bytes) {
        let Some(subscribed) = self.channels.get(channel) else { return };
        for listener in &subscribed.listeners {
            // Full: the subscriber is slow, and told so, rather than waited for.
            if listener.hints.try_send(bytes.clone()).is_err() {
                listener.gap.notify_one();
            }
        }
    }
}

async fn search(finder: Arc<Finder>) -> Result<Routes, RedisError> {
    match &finder.target()?.layout {
        Layout::One(address) => Ok(Routes::Same(address.clone())),
        Layout::Sentinel { .. } => Ok(Routes::Same(finder.primary().await?)),
        Layout::Cluster { .. } => Ok(Routes::BySlot(finder.primaries().await?)),
    }
}

async fn searched(search: &mut Option<Search>) -> Result<Routes, RedisError> {
    match search {
        Some(search) => search.await,
        None => pending().await,
    }
}

async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

const ORDERS: usize = 1_024;
const EVENTS: usize = 1_024;
const HINTS: usize = 256;
/// How long a subscriber waits for the server to confirm.
const CONFIRM: Duration = Duration::from_secs(2);

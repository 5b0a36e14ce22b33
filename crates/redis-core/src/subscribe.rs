//! Sharded subscriptions: one connection for the process, made again after a loss with every channel.
//!
//! What comes through here is a hint, never the truth: a message may be lost at any time, and then the subscriber
//! hears of a gap and reads again.

use crate::connection::Connection;
use crate::{Channel, RedisConfig, RedisError};
use bytes::Bytes;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::{Message, Value};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
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
    gap: std::sync::Arc<tokio::sync::Notify>,
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

/// Starts its task, and with it the connection, with the first subscription.
pub(crate) struct Subscriber {
    config: RedisConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
    orders: OnceLock<mpsc::Sender<Order>>,
}

impl Subscriber {
    pub(crate) fn new(config: RedisConfig, tasks: TaskTracker) -> Self {
        Self { config, tasks, stop: CancellationToken::new(), orders: OnceLock::new() }
    }

    pub(crate) async fn subscribe(&self, channel: &Channel) -> Result<Subscription, RedisError> {
        let orders = self.orders.get_or_init(|| {
            let (orders, received) = mpsc::channel(ORDERS);
            let task = Task {
                config: self.config.clone(),
                orders: orders.downgrade(),
                channels: HashMap::new(),
                next: 0,
            };
            let stop = self.stop.clone();
            let _joined_by_close = self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task.run(received) => {}
                }
            });
            orders
        });
        let (answer, answered) = oneshot::channel();
        let order = Order::Subscribe { channel: channel.clone(), answer };
        orders.send(order).await.map_err(|_| RedisError::away())?;
        answered.await.unwrap_or(Err(RedisError::Unknown))
    }

    pub(crate) fn close(&self) {
        self.stop.cancel();
    }
}

struct Listener {
    id: u64,
    hints: mpsc::Sender<Bytes>,
    gap: std::sync::Arc<tokio::sync::Notify>,
}

struct Task {
    config: RedisConfig,
    orders: mpsc::WeakSender<Order>,
    channels: HashMap<Channel, Vec<Listener>>,
    next: u64,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let connection = match Connection::open(&self.config) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::error!(error = %error, "cannot subscribe: {error}");
                return; // Each order is answered with `Unknown` as its sender drops.
            }
        };
        let mut messages = connection.client().message_rx();
        let mut reconnects = connection.client().reconnect_rx();
        loop {
            tokio::select! {
                biased;
                reconnected = reconnects.recv() => match reconnected {
                    Err(RecvError::Closed) => return,
                    // fred's own way back restores one channel of many.
                    Ok(_) | Err(RecvError::Lagged(_)) => self.resubscribe(&connection).await,
                },
                message = messages.recv() => match message {
                    Ok(message) => self.deliver(message),
                    Err(RecvError::Lagged(_)) => self.tell_all_of_a_gap(),
                    Err(RecvError::Closed) => return,
                },
                order = orders.recv() => match order {
                    Some(order) => self.obey(&connection, order).await,
                    None => return,
                },
            }
        }
    }

    async fn obey(&mut self, connection: &Connection, order: Order) {
        match order {
            Order::Subscribe { channel, answer } => {
                let subscribed = self.subscribe(connection, channel).await;
                // Not taken: dropping the subscription sends the order to unsubscribe.
                let _ = answer.send(subscribed);
            }
            Order::Unsubscribe { channel, id } => {
                let Some(listeners) = self.channels.get_mut(&channel) else { return };
                listeners.retain(|listener| listener.id != id);
                if listeners.is_empty() {
                    self.channels.remove(&channel);
                    let unsubscribed = connection.client().sunsubscribe(channel.as_str()).await;
                    if let Err(error) = unsubscribed {
                        tracing::debug!(error = %error, "could not unsubscribe: {error}");
                    }
                }
            }
        }
    }

    async fn subscribe(
        &mut self,
        connection: &Connection,
        channel: Channel,
    ) -> Result<Subscription, RedisError> {
        if !self.channels.contains_key(&channel) {
            confirm(connection, &channel).await?;
        }
        let (sender, hints) = mpsc::channel(HINTS);
        let gap = std::sync::Arc::new(tokio::sync::Notify::new());
        let id = self.next;
        self.next += 1;
        let listener = Listener { id, hints: sender, gap: std::sync::Arc::clone(&gap) };
        self.channels.entry(channel.clone()).or_default().push(listener);
        let orders = self.orders.upgrade().ok_or(RedisError::Unknown)?;
        Ok(Subscription { id, channel, hints, gap, orders })
    }

    async fn resubscribe(&mut self, connection: &Connection) {
        for channel in self.channels.keys() {
            if let Err(error) = confirm(connection, channel).await {
                // The connection is lost again, and its return brings us back here.
                tracing::warn!(error = %error, "could not subscribe again: {error}");
                return;
            }
        }
        self.tell_all_of_a_gap();
    }

    fn deliver(&mut self, message: Message) {
        let channel = Channel(message.channel.to_string());
        let Some(listeners) = self.channels.get(&channel) else { return };
        let bytes = match message.value {
            Value::Bytes(bytes) => bytes,
            Value::String(text) => text.into_inner(),
            _ => Bytes::new(),
        };
        for listener in listeners {
            // Full: the subscriber is slow, and told so, rather than waited for.
            if listener.hints.try_send(bytes.clone()).is_err() {
                listener.gap.notify_one();
            }
        }
    }

    fn tell_all_of_a_gap(&self) {
        for listener in self.channels.values().flatten() {
            listener.gap.notify_one();
        }
    }
}

async fn confirm(connection: &Connection, channel: &Channel) -> Result<(), RedisError> {
    let subscribed = connection.client().ssubscribe(channel.as_str());
    // Safe to drop: a subscription too many is a message too many, which finds no listener.
    match tokio::time::timeout(CONFIRM, subscribed).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(crate::connection::sort(&error)),
        Err(_) => Err(RedisError::away()),
    }
}

const ORDERS: usize = 1_024;
const HINTS: usize = 256;
const CONFIRM: Duration = Duration::from_secs(2);

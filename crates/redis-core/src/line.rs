//! One subscriber connection to one server, until it is lost.

use crate::finder::Finder;
use crate::target::Address;
use crate::wire::{Push, Wire};
use crate::{Channel, RedisError, Reply};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What to do.
enum Order {
    Subscribe(Channel),
    Unsubscribe(Channel),
}

/// What happened.
pub(crate) enum Event {
    Message(Channel, Bytes),
    /// Messages come from now on.
    Confirmed(Address, Channel),
    /// None will come.
    Refused(Address, Channel, RedisError),
    /// None will come any more.
    Ended(Address, Channel),
    /// The connection is lost, or could not be made; its last event.
    Lost(Address, RedisError),
}

/// Gives orders to the task that has the connection.
pub(crate) struct Line(mpsc::Sender<Order>);

impl Line {
    pub(crate) fn start(
        tasks: &mut JoinSet<()>,
        finder: Arc<Finder>,
        address: Address,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (orders, received) = mpsc::channel(ORDERS);
        tasks.spawn(async move {
            let error = tokio::select! {
                error = talk(&finder, &address, received, &events) => error,
                () = finder.until_replaced(&address) => RedisError::away(),
            };
            let _ = events.send(Event::Lost(address, error)).await;
        });
        Self(orders)
    }

    /// False when too many orders wait already: ask again later.
    pub(crate) fn subscribe(&self, channel: Channel) -> bool {
        self.0.try_send(Order::Subscribe(channel)).is_ok()
    }

    /// A subscription that is not undone is a message too many, which finds no listener.
    pub(crate) fn unsubscribe(&self, channel: Channel) {
        let _ = self.0.try_send(Order::Unsubscribe(channel));
    }
}

/// A question that was not answered yet.
enum Asked {
    Ping,
    Channel(Channel),
}

async fn talk(
    finder: &Finder,
    address: &Address,
    mut orders: mpsc::Receiver<Order>,
    events: &mpsc::Sender<Event>,
) -> RedisError {
    let opening = async { Wire::open(address, finder.tls()?, &finder.login()?).await };
    let opened = tokio::time::timeout(finder.patience(), opening).await;
    let mut wire = match opened.unwrap_or_else(|_| Err(RedisError::away())) {
        Ok(wire) => wire,
        Err(error) => return error,
    };
    // Answers and pushes come in the order of the questions.
    let mut asked = VecDeque::new();
    // Since when something is owed to us, and nothing came.
    let mut silent_since = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        let question = tokio::select! { // Every branch may be dropped: none has taken anything yet.
            biased;
            came = wire.next() => {
                silent_since = Instant::now();
                let event = match came {
                    Ok(Ok(push)) => told(address, push, &mut asked),
                    Ok(Err(answer)) => answered(address, answer, &mut asked),
                    Err(error) => return error,
                };
                if let Some(event) = event
                    && events.send(event).await.is_err()
                {
                    return RedisError::away();
                }
                continue;
            }
            order = orders.recv() => match order {
                Some(Order::Subscribe(channel)) => Some(("SSUBSCRIBE", channel)),
                Some(Order::Unsubscribe(channel)) => Some(("SUNSUBSCRIBE", channel)),
                None => return RedisError::away(),
            },
            _ = tick.tick() => None,
        };
        if asked.is_empty() {
            silent_since = Instant::now();
        } else if silent_since.elapsed() > SILENCE {
            tracing::warn!("redis at {address} takes subscriptions and does not answer: connecting again");
            return RedisError::away();
        }
        let words = match &question {
            Some((command, channel)) => vec![*command, channel.as_str()],
            None if asked.is_empty() => vec!["PING"],
            None => continue,
        };
        // A peer that reads nothing blocks writes, too.
        match tokio::time::timeout(SILENCE, wire.send(&words)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return RedisError::away(),
        }
        match question {
            Some(("SSUBSCRIBE", channel)) => asked.push_back(Asked::Channel(channel)),
            // Confirmed by a push at any time.
            Some(_) => {}
            None => asked.push_back(Asked::Ping),
        }
    }
}

fn told(address: &Address, push: Push, asked: &mut VecDeque<Asked>) -> Option<Event> {
    let mut rest = push.rest.into_iter();
    let channel = Channel(rest.next()?.word().to_owned());
    match push.kind.as_str() {
        "smessage" => Some(Event::Message(channel, rest.next()?.into_bytes().ok()?)),
        "ssubscribe" => {
            asked.pop_front();
            Some(Event::Confirmed(address.clone(), channel))
        }
        "sunsubscribe" => Some(Event::Ended(address.clone(), channel)),
        _ => None,
    }
}

fn answered(address: &Address, answer: Reply, asked: &mut VecDeque<Asked>) -> Option<Event> {
    match (asked.pop_front()?, answer.ok()) {
        (Asked::Channel(channel), Err(error)) => {
            Some(Event::Refused(address.clone(), channel, sorted(error)))
        }
        (Asked::Ping | Asked::Channel(_), _) => None,
    }
}

/// A slot that has moved is no refusal.
fn sorted(error: RedisError) -> RedisError {
    match error {
        RedisError::Reply(text) if text.starts_with("MOVED ") || text.starts_with("ASK ") => {
            RedisError::away()
        }
        error => error,
    }
}

const ORDERS: usize = 16_384;
/// How often a quiet connection is asked whether it is there; with [`SILENCE`], a peer that says nothing is found within
/// 2 s.
const TICK: Duration = Duration::from_millis(400);
const SILENCE: Duration = Duration::from_millis(1_100);

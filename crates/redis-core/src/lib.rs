#![doc = include_str!("../README.md")]

mod arg;
mod batch;
mod breaker;
mod clock;
mod config;
mod connection;
mod error;
mod finder;
mod health;
mod key;
mod keys;
mod line;
mod metrics;
mod pool;
mod probe;
mod redis;
mod reply;
mod script;
mod server;
mod subscribe;
mod target;
mod tls;
mod wire;

pub use arg::Arg;
pub use breaker::{BreakerReport, BreakerState};
pub use clock::{CLOCK_LUA, Clock};
pub use config::{InvalidPrefix, Prefix, RedisConfig};
pub use error::RedisError;
pub use health::{PoolUsage, RedisHealth};
pub use key::{Channel, Key};
pub use redis::Redis;
pub use reply::Reply;
pub use script::Script;
pub use server::{Activity, Memory, Persistence, Replication, ServerHealth};
pub use subscribe::{Hint, Subscription};
pub use tls::RedisTls;

#![doc = include_str!("../README.md")]

mod guardian;
mod port;
mod proxy;
mod redis;
mod resp;
mod wait;

pub use port::free_port;
pub use proxy::Proxy;
pub use redis::{RedisOptions, RedisServer, both};
pub use wait::{Settled, until};

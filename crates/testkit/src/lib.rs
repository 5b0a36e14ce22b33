#![doc = include_str!("../README.md")]

mod binary;
mod browser;
mod certificates;
mod cluster;
mod collector;
mod description;
mod guardian;
mod http;
mod keys;
mod port;
mod proxy;
mod redis;
mod resp;
mod sentinel;
mod service;
mod wait;

pub use binary::service_binary;
pub use browser::Browser;
pub use certificates::{Authority, Certificate};
pub use cluster::Cluster;
pub use collector::{Attributes, CollectedLog, CollectedPoint, CollectedSpan, Collector};
pub use description::described_routes;
pub use http::{Client, expect_problem};
pub use keys::{Keys, key_record};
pub use port::free_port;
pub use proxy::Proxy;
pub use redis::{RedisOptions, RedisServer, both};
pub use sentinel::Watched;
pub use service::Service;
pub use wait::{Settled, until};

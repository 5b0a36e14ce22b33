//! A running stack as the tests use it, in containers or as processes: every replica by itself.

use secrecy::SecretString;
use sluice::demo;
use testkit::Client;

/// Where the services of a running stack are, one client for each replica, all with the first key.
pub(crate) struct Stack {
    pub(crate) gateways: Vec<Client>,
    pub(crate) caches: Vec<Client>,
    pub(crate) queues: Vec<Client>,
    pub(crate) progress: Vec<Client>,
    pub(crate) demo: demo::Stack,
}

/// Addresses of every replica, by service.
#[derive(Default)]
pub(crate) struct Addresses {
    pub(crate) gateways: Vec<String>,
    pub(crate) caches: Vec<String>,
    pub(crate) queues: Vec<String>,
    pub(crate) progress: Vec<String>,
}

impl Stack {
    pub(crate) fn at(addresses: &Addresses, key: &str) -> Self {
        let clients = |urls: &[String]| urls.iter().map(|url| Client::new(url).with_key(key)).collect();
        let demo = demo::Stack { url: addresses.gateways[0].clone(), key: SecretString::from(key) };
        Self {
            gateways: clients(&addresses.gateways),
            caches: clients(&addresses.caches),
            queues: clients(&addresses.queues),
            progress: clients(&addresses.progress),
            demo,
        }
    }

    /// Every replica that says of itself whether it is ready. (A gateway's public port says nothing of itself.)
    pub(crate) fn with_health(&self) -> impl Iterator<Item = &Client> {
        self.caches.iter().chain(&self.queues).chain(&self.progress)
    }
}

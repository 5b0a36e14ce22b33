//! Helpers for this service's tests.

use reqwest::{RequestBuilder, Response};
use testkit::{Client, Keys, RedisServer, Service};

/// cache-api on a Redis of its own, with an almighty key.
pub(crate) struct Stack {
    pub(crate) redis: RedisServer,
    pub(crate) service: Service,
    _keys: Keys,
    pub(crate) admin: Client,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::with(Keys::admin(), &[]).await
    }

    pub(crate) async fn with((keys, key): (Keys, String), env: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let (url, path) = (redis.url(), keys.path().display().to_string());
        let mut all = vec![("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", &*path)];
        all.extend_from_slice(env);
        let service = Service::start("cache-api", &all).await;
        let admin = service.client(&key);
        Self { redis, service, _keys: keys, admin }
    }

    /// `GET` of an entry of project `acme`.
    pub(crate) fn get(&self, name: &str) -> RequestBuilder {
        self.admin.get(&entry(name))
    }

    /// `PUT` of an entry of project `acme`.
    pub(crate) fn put(&self, name: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.admin.put(&entry(name)).body(body)
    }
}

pub(crate) fn entry(name: &str) -> String {
    format!("/v1/projects/acme/entries/{name}")
}

pub(crate) async fn sent(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

pub(crate) fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

//! A service on a Redis with our users, asked by every route that it describes.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::collections::BTreeSet;
use testkit::{Client, Keys, RedisServer, Service, described_routes};

pub(crate) struct Job {
    pub(crate) redis: RedisServer,
    pub(crate) service: Service,
    name: String,
    client: Client,
    pub(crate) key: String,
    asked: BTreeSet<String>,
    _keys: Keys,
}

impl Job {
    /// The service as its own user. (Routes are asked where operators ask.)
    pub(crate) async fn of(name: &str, settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let (keys, key) = Keys::admin();
        let (url, file) = (redis.url(), keys.path().display().to_string());
        let env = [("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", &*file)];
        let env = [&env[..], settings].concat();
        let service = match name {
            "ratelimit-gateway" => Service::start_with_admin(name, &env).await,
            _ => Service::start(name, &env).await,
        };
        let client = Client::new(&service.admin_url()).with_key(&key);
        Self { redis, service, name: name.to_owned(), client, key, asked: BTreeSet::new(), _keys: keys }
    }

    /// Asks by a route, whose parameters are filled in from the left, and requires that it works. Answers with the JSON,
    /// or with the text in quotes.
    pub(crate) async fn ask(&mut self, route: &str, parameters: &[&str], body: Option<Value>) -> Value {
        self.ask_with(route, parameters, |request| match &body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// [`Job::ask`] with anything else that belongs to the request. A `?query` stands behind the route.
    pub(crate) async fn ask_with(
        &mut self,
        route: &str,
        parameters: &[&str],
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Value {
        let described = route.split('?').next().unwrap();
        self.asked.insert(described.to_owned());
        let (method, mut path) =
            route.split_once(' ').map(|(method, path)| (method, path.to_owned())).unwrap();
        for parameter in parameters {
            let (begin, end) = (path.find('{').unwrap(), path.find('}').unwrap());
            path.replace_range(begin..=end, parameter);
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = complete(self.client.request(method, &path)).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{route}: {status}: {text}\n{}", self.service.log());
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    /// Every route was asked, health is told in full, and Redis has refused nothing.
    pub(crate) async fn is_done(&mut self) {
        assert_eq!(described_routes(&self.client).await, self.asked.iter().cloned().collect::<Vec<_>>());
        let health = self.client.json(self.client.get("/health")).await;
        assert_eq!(health["status"], "ready", "{health}");
        // By its own name, all the time: nobody else is here but who asks.
        let clients = self.redis.cli(&["CLIENT", "LIST"]).await;
        let user = format!(" user={} ", self.name);
        let others =
            clients.lines().filter(|client| !client.contains(&user) && !client.contains("cmd=client|list"));
        assert!(clients.contains(&user) && others.count() == 0, "{clients}");
        assert_eq!(self.redis.denials().await, Vec::<String>::new());
        let log = self.service.log();
        assert!(!log.contains("NOPERM"), "{log}");
    }
}

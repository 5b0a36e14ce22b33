//! The configuration of an embedded stack: `sluice.toml` and the environment like everywhere, and over
//! them what makes it one stack: its private Redis and its secrets.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use domain::Timestamp;
use http_kit::{ConfigError, ServiceConfig, Sources, load_config};
use redis_acl::User;
use redis_core::{Clock, Redis, RedisConfig};

use crate::home::Home;
use crate::port::check_free;
use crate::secrets::{KEYS, SESSION_KEYS, SESSION_USER_KEY, STAMP_KEY, Secrets, password_file};

/// The one port for everything: it says nothing of itself, the gateway's health is at `gateway-admin`.
pub(crate) const GATEWAY: &str = "ratelimit-gateway";

/// Name, address and the variable that moves it, of each service.
type Service = (&'static str, SocketAddr, &'static str);

pub(crate) struct Settings {
    sources: Sources,
    secrets: Secrets,
    redis: RedisConfig,
    redis_address: SocketAddr,
    services: [Service; 5],
    secure: bool,
}

impl Settings {
    /// Reads and checks the configuration of every service.
    pub(crate) fn load(secrets: &Secrets, redis_port: u16) -> Result<Self, ConfigError> {
        let redis_address = SocketAddr::from((Ipv4Addr::LOCALHOST, redis_port));
        let mut sources = Sources::of_process();
        let path = |name| secrets.path(name).display().to_string();
        for (variable, value) in [
            ("SLUICE__REDIS__URL", format!("redis://{redis_address}")),
            ("SLUICE__AUTH__KEYS_FILE", path(KEYS)),
            ("SLUICE__CACHE_API__STAMP_KEY_FILE", path(STAMP_KEY)),
            ("SLUICE__SESSION__USER_KEY_FILE", path(SESSION_USER_KEY)),
            ("SLUICE__SESSION__KEYS_FILE", path(SESSION_KEYS)),
        ] {
            sources.environment.insert(variable.to_owned(), value);
        }
        // No balancer stands before this stack: nobody has to learn that it stops.
        let delay = sources.environment.entry("SLUICE__HTTP__STOP_DELAY_MS".to_owned());
        delay.or_insert_with(|| "0".to_owned());
        let cache_api = load_config::<cache_api::Config>(&sources)?;
        let gateway = load_config::<ratelimit_gateway::Config>(&sources)?;
        let queue_worker = load_config::<queue_worker::Config>(&sources)?;
        let progress_sse = load_config::<progress_sse::Config>(&sources)?;
        if cache_api.http.tls.is_on() {
            let reason = "the gateway of this stack speaks plain HTTP to the services behind it; \
                          for its users set ratelimit_gateway.door.tls";
            return Err(ConfigError::value("http.tls", reason));
        }
        let secure = gateway.ratelimit_gateway.door.tls.is_on();
        // Where the shipped rules lead.
        for (variable, bind) in [
            ("SLUICE_CACHE_API_URL", cache_api.bind()),
            ("SLUICE_QUEUE_WORKER_URL", queue_worker.bind()),
            ("SLUICE_PROGRESS_SSE_URL", progress_sse.bind()),
        ] {
            let name = format!("SLUICE__RATELIMIT_GATEWAY__VARIABLES__{variable}");
            sources.environment.entry(name).or_insert_with(|| format!("http://{bind}"));
        }
        let services = [
            ("cache-api", cache_api.bind(), "SLUICE__CACHE_API__BIND"),
            (GATEWAY, gateway.ratelimit_gateway.bind, "SLUICE__RATELIMIT_GATEWAY__BIND"),
            ("gateway-admin", gateway.bind(), "SLUICE__RATELIMIT_GATEWAY__ADMIN_BIND"),
            ("queue-worker", queue_worker.bind(), "SLUICE__QUEUE_WORKER__BIND"),
            ("progress-sse", progress_sse.bind(), "SLUICE__PROGRESS_SSE__BIND"),
        ];
        Ok(Self {
            sources,
            secrets: secrets.clone(),
            redis: cache_api.redis,
            redis_address,
            services,
            secure,
        })
    }

    /// The configuration of the service that is this user of Redis.
    pub(crate) fn of<C: ServiceConfig>(&self, user: User) -> Result<C, ConfigError> {
        let mut sources = self.sources.clone();
        sources.environment.extend(self.login(user));
        load_config(&sources)
    }

    /// The same configuration for a process of its own.
    pub(crate) fn environment(&self, user: User) -> impl Iterator<Item = (String, String)> {
        self.sources.environment.clone().into_iter().chain(self.login(user))
    }

    /// The way to Redis as this user.
    pub(crate) fn redis(&self, user: User) -> RedisConfig {
        RedisConfig {
            username: Some(user.name().to_owned()),
            password_file: Some(self.secrets.path(&password_file(user))),
            ..self.redis.clone()
        }
    }

    fn login(&self, user: User) -> [(String, String); 2] {
        let file = self.secrets.path(&password_file(user));
        [
            ("SLUICE__REDIS__USERNAME".to_owned(), user.name().to_owned()),
            ("SLUICE__REDIS__PASSWORD_FILE".to_owned(), file.display().to_string()),
        ]
    }

    pub(crate) fn redis_address(&self) -> SocketAddr {
        self.redis_address
    }

    /// The services with their addresses.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.services.iter().map(|(name, address, _)| (*name, *address))
    }

    /// Whether users come by TLS.
    pub(crate) fn secure(&self) -> bool {
        self.secure
    }

    /// Checks that everything can listen where it should, and names who is in the way.
    pub(crate) fn check_ports(&self) -> anyhow::Result<()> {
        check_free(self.redis_address, "redis", "choose another by --redis-port".to_owned())?;
        for (name, address, variable) in self.services {
            check_free(address, name, format!("choose another by {variable}=127.0.0.1:PORT"))?;
        }
        Ok(())
    }

    /// Starts the log of this process, once for all services.
    pub(crate) fn start_logging(&self) -> anyhow::Result<()> {
        let config = self.of::<cache_api::Config>(User::CacheApi)?;
        telemetry::start("sluice", config.log()).context("cannot start the log")?;
        Ok(())
    }
}

/// What time it is for a person.
pub(crate) fn now() -> Timestamp {
    Clock::redis().now()
}

/// The Redis of the stack in `home` when it runs, as the user who manages API keys; else the configured one.
pub(crate) fn redis_of(home: &Home) -> anyhow::Result<Redis> {
    let running = home.running()?;
    let embedded = running.as_ref().and_then(|running| running.address("redis"));
    let config = match embedded {
        Some(address) => {
            Settings::load(&Secrets::make_once(&home.secrets())?, address.port())?.redis(User::Keys)
        }
        None => load_config::<cache_api::Config>(&Sources::of_process())?.redis,
    };
    Ok(Redis::connect(&config))
}

//! `sluice up` and `sluice down`: an embedded stack, from nothing to ready and back to nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use redis_acl::User;
use redis_core::Redis;
use rustix::process::setsid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::home::{Home, Running};
use crate::process::{process, terminate};
use crate::redis_server::RedisServer;
use crate::secrets::Secrets;
use crate::services::Services;
use crate::settings::{self, Settings};
use crate::{logs, report, say};

/// For what the collector of telemetry, if there is one, has not got yet.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
/// From the start of the services to their readiness.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Redis loads what it holds before it answers: a full one takes some seconds.
const REDIS_READY_WITHIN: Duration = Duration::from_secs(120);
/// Longer than the services and Redis may take to stop.
const DOWN_WITHIN: Duration = Duration::from_secs(120);
/// How often a state that nobody announces is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Enough of a log to see why something ended.
const LAST_WORDS: usize = 12;

/// Runs a stack here until Ctrl-C or `sluice down`. One that runs already is left alone.
///
/// `in_background` cuts the ties to the terminal that [`background`] was called from.
pub(crate) async fn foreground(
    home: &Home,
    redis_port: u16,
    in_background: bool,
) -> anyhow::Result<ExitCode> {
    if in_background {
        setsid().context("cannot leave the terminal")?;
    }
    // Before the lock: whoever sees it may send a signal.
    let signals = Signals::listen()?;
    let Some(_lock) = home.lock()? else { return already_runs(home).await };
    home.clear_running();
    let stop = CancellationToken::new();
    let mut listener = JoinSet::new();
    listener.spawn(signals.cancel(stop.clone()));

    let secrets = Secrets::make_once(&home.secrets())?;
    let settings = Settings::load(&secrets, redis_port)?;
    RedisServer::stop_left_behind(home).await?;
    settings.check_ports()?;
    settings.start_logging()?;

    let mut redis = RedisServer::start(home, &secrets, settings.redis_address()).await?;
    let outcome = run(home, &settings, &mut redis, &stop, in_background).await;
    home.clear_running();
    redis.stop().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Runs the services on `redis`; returns once they have ended, all of them.
async fn run(
    home: &Home,
    settings: &Settings,
    redis: &mut RedisServer,
    stop: &CancellationToken,
    in_background: bool,
) -> anyhow::Result<()> {
    let mut services = Services::default();
    let working = async {
        redis_ready(settings).await?;
        services.start(settings)?;
        let ready = timeout(READY_WITHIN, services_ready(settings));
        tokio::select! {
            ready = ready => ready.context("the services are not ready after 30 s; their log says why")?,
            (name, outcome) = services.ended() => return Err(ended_early(name, outcome)),
        }
        announce(home, settings, in_background)?;
        let (name, outcome) = services.ended().await;
        Err(ended_early(name, outcome))
    };
    // Every branch may be dropped: what they started is in `services` and `redis`, which stop after.
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = redis.wait() => {
            let last_words = last_words(&home.redis_log());
            Err(anyhow!("Redis ended by itself; the end of its log:\n{last_words}"))
        }
        outcome = working => outcome,
    };
    services.stop().await;
    // It blocks this thread, which has nothing left to do.
    telemetry::shutdown(FLUSH_DEADLINE);
    outcome
}

fn ended_early(name: &str, outcome: anyhow::Result<()>) -> anyhow::Error {
    match outcome {
        Ok(()) => anyhow!("{name} ended by itself"),
        Err(error) => error.context(format!("{name} failed")),
    }
}

/// The signals that ask a stack to stop: of a terminal, of `sluice down`, of a terminal that closes.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hang_up?]))
    }

    async fn cancel(mut self, stop: CancellationToken) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        stop.cancel();
    }
}

/// Waits until Redis answers whoever has the password; while it loads its data it does not.
async fn redis_ready(settings: &Settings) -> anyhow::Result<()> {
    let redis = Redis::connect(&settings.redis(User::CacheApi));
    let answered = async {
        while redis.ping(Duration::from_secs(2)).await.is_err() {
            sleep(LOOK_EVERY).await;
        }
    };
    let answered = timeout(REDIS_READY_WITHIN, answered).await;
    redis.close().await;
    answered.context("Redis is not ready after 120 s; .sluice/log/redis.log says why")
}

async fn services_ready(settings: &Settings) {
    let client = reqwest::Client::new();
    for (name, address) in settings.services() {
        while report::state(&client, name, address).await.is_err() {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Tells the other commands, and the person in front of the terminal if there is one.
fn announce(home: &Home, settings: &Settings, in_background: bool) -> anyhow::Result<()> {
    let mut addresses = vec![("redis".to_owned(), settings.redis_address())];
    addresses.extend(settings.services().map(|(name, address)| (name.to_owned(), address)));
    let running = Running {
        process: std::process::id(),
        since: settings::now().to_string(),
        addresses,
        secure: settings.secure(),
    };
    home.set_running(&running)?;
    if !in_background {
        say(format_args!("sluice is ready (stop it with Ctrl-C or `sluice down`)"));
        report::welcome(home, &running);
    }
    Ok(())
}

/// Starts a stack in the background and returns when it is ready. One that runs already is left alone.
pub(crate) async fn background(home: &Home, redis_port: u16) -> anyhow::Result<ExitCode> {
    if home.holder()?.is_some() {
        return already_runs(home).await;
    }
    let running = start_in_background(home, redis_port).await?;
    say(format_args!("sluice is ready (stop it with `sluice down`, read it with `sluice logs`)"));
    report::welcome(home, &running);
    Ok(ExitCode::SUCCESS)
}

/// The running stack, started in the background if there is none; true when it was.
pub(crate) async fn running_or_start(home: &Home, redis_port: u16) -> anyhow::Result<(Running, bool)> {
    match home.holder()? {
        Some(_) => Ok((until_ready(home).await?, false)),
        None => Ok((start_in_background(home, redis_port).await?, true)),
    }
}

async fn start_in_background(home: &Home, redis_port: u16) -> anyhow::Result<Running> {
    // Found out here, what is wrong is said here and not in a log.
    if let Some(_lock) = home.lock()? {
        let secrets = Secrets::make_once(&home.secrets())?;
        RedisServer::stop_left_behind(home).await?;
        Settings::load(&secrets, redis_port)?.check_ports()?;
    }

    let log = File::options().create(true).append(true).open(home.log())?;
    let mut stack = Command::new(std::env::current_exe()?)
        .arg("--data")
        .arg(home.folder())
        .args(["up", "--in-background", "--redis-port", &redis_port.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the stack")?;
    tokio::select! {
        running = ready_or_ended(home, &mut stack) => running,
        _ = tokio::signal::ctrl_c() => {
            down(home).await?;
            bail!("interrupted");
        }
    }
}

async fn ready_or_ended(home: &Home, stack: &mut Child) -> anyhow::Result<Running> {
    loop {
        if let Some(running) = home.running()? {
            return Ok(running);
        }
        match stack.try_wait()? {
            None => {}
            // Somebody else was faster: it is their stack that becomes ready.
            Some(status) if status.success() => return until_ready(home).await,
            Some(status) => {
                bail!("the stack ended ({status}) before it was ready:\n{}", last_words(&home.log()))
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn already_runs(home: &Home) -> anyhow::Result<ExitCode> {
    let running = until_ready(home).await?;
    say(format_args!("sluice runs already (process {})", running.process));
    report::welcome(home, &running);
    Ok(ExitCode::SUCCESS)
}

/// Waits for a stack that another process has: it may still be starting.
async fn until_ready(home: &Home) -> anyhow::Result<Running> {
    let begin = Instant::now();
    while begin.elapsed() < REDIS_READY_WITHIN + READY_WITHIN {
        if let Some(running) = home.running()? {
            return Ok(running);
        }
        if home.holder()?.is_none() {
            bail!("another start of this stack has just ended: try again");
        }
        sleep(LOOK_EVERY).await;
    }
    bail!("another process has this stack and does not become ready: see `sluice logs`, then `sluice down`")
}

/// Stops the stack, wherever it was started, and waits until nothing of it is left.
pub(crate) async fn down(home: &Home) -> anyhow::Result<bool> {
    let Some(holder) = home.holder()? else {
        // A stack and the keeper of its Redis that were both killed leave a Redis.
        return RedisServer::stop_left_behind(home).await;
    };
    let process = process(holder).context("the lock names no process")?;
    terminate(process).with_context(|| format!("cannot stop process {holder}"))?;
    let stopped = async {
        while home.holder()?.is_some() {
            sleep(LOOK_EVERY).await;
        }
        anyhow::Ok(())
    };
    timeout(DOWN_WITHIN, stopped).await.with_context(|| format!("process {holder} does not stop"))??;
    Ok(true)
}

fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(logs::last_lines(&text, LAST_WORDS)).into_owned()
}

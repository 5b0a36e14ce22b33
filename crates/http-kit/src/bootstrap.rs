//! From the command line to a running service, and back to an exit code.

use crate::configuration::{ConfigError, ServiceConfig, Sources, load_config};
use crate::probe::{self, Said};
use crate::problem::causes;
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A request makes dozens of small allocations, often freed on another thread than they were made on.
/// docs/adr/0013-allocator.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// All done.
    pub const OK: Self = Self(0);
    /// The service failed, or is not healthy.
    pub const FAILED: Self = Self(1);
    /// The command line makes no sense (`EX_USAGE`).
    pub const USAGE: Self = Self(64);
    /// The configuration is wrong (`EX_CONFIG`).
    pub const CONFIG: Self = Self(78);

    /// The number that the parent process sees.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// The whole `main` of a service, see [`start`].
///
/// ```ignore
/// fn main() -> std::process::ExitCode {
///     http_kit::main("cache-api", cache_api::run)
/// }
/// ```
pub fn main<C, R, F, E>(service: &'static str, run: R) -> ExitCode
where
    C: ServiceConfig,
    R: FnOnce(C, CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    start(service, std::env::args().skip(1), &Sources::of_process(), run).into()
}

/// Does what the command line says: nothing (run), `--check-config`, `health`, `--version`, `--help`.
///
/// Running: reads the configuration, starts the log, and calls `run` with a token that SIGTERM or SIGINT cancels; a
/// second signal quits at once. Exit codes: 78 for a configuration that is wrong, 64 for a wrong command line, 1 when
/// `run` failed.
pub fn start<C, R, F, E>(
    service: &'static str,
    arguments: impl IntoIterator<Item = String>,
    sources: &Sources,
    run: R,
) -> Exit
where
    C: ServiceConfig,
    R: FnOnce(C, CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let arguments: Vec<String> = arguments.into_iter().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => with_config(service, sources, |config: C| serve(service, config, run)),
        ["--check-config"] => with_config(service, sources, |config: C| say(&format!("{config:#?}"))),
        ["health"] => with_config(service, sources, |config: C| ask_health(service, &config)),
        ["--version" | "-V"] => say(&format!("{service} {}", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h"] => say(&usage(service)),
        _ => {
            complain(&format!("{service}: unknown arguments: {}\n{}", arguments.join(" "), usage(service)));
            Exit::USAGE
        }
    }
}

fn with_config<C: ServiceConfig>(service: &str, sources: &Sources, act: impl FnOnce(C) -> Exit) -> Exit {
    match load_config(sources) {
        Ok(config) => act(config),
        Err(ConfigError { key, reason }) => {
            complain(&format!("{service}: wrong configuration: {key}: {reason}"));
            Exit::CONFIG
        }
    }
}

fn serve<C, R, F, E>(service: &'static str, config: C, run: R) -> Exit
where
    C: ServiceConfig,
    R: FnOnce(C, CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(error) = telemetry::start(service, config.log()) {
        complain(&format!("{service}: {error}"));
        return Exit::FAILED;
    }
    let ended = tokio::runtime::Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
        let ended = runtime.block_on(async {
            let stop = CancellationToken::new();
            let mut signals = JoinSet::new();
            signals.spawn(obey(Signals::listen()?, stop.clone()));
            Ok(run(config, stop).await.map_err(Into::into))
        });
        // A thread that blocks, such as one that resolves a name, would hold the process for as long as it does.
        runtime.shutdown_background();
        ended
    });
    let exit = match ended {
        Ok(Ok(())) => Exit::OK,
        Ok(Err(error)) => fail(service, &*error),
        Err(error) => fail(service, &error),
    };
    // Last of all, so that it takes the reason along.
    telemetry::shutdown(FLUSH_DEADLINE);
    exit
}

fn fail(service: &str, error: &(dyn std::error::Error + 'static)) -> Exit {
    let causes = causes(error);
    tracing::error!(error = causes, "{service} failed: {causes}");
    Exit::FAILED
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The first signal asks, the second one does not.
async fn obey(mut signals: Signals, stop: CancellationToken) {
    let name = signals.next().await;
    tracing::info!("{name}: stopping; one more quits at once");
    stop.cancel();
    let name = signals.next().await;
    tracing::warn!("{name} again: quitting at once");
    std::process::exit(i32::from(Exit::FAILED.code()));
}

/// The health check of a container.
fn ask_health(service: &str, config: &impl ServiceConfig) -> Exit {
    let bind = config.bind();
    match probe::ask(bind, &config.http().tls) {
        Ok(Said::Lives) => say(&format!("{service} lives")),
        Ok(Said::WantsCertificate) => say(&format!("{service} lives, and asks for a client's certificate")),
        Ok(Said::Other(status)) => {
            complain(&format!("{service} answers {status}"));
            Exit::FAILED
        }
        Err(error) => {
            complain(&format!("{service} does not answer on {bind}: {error}"));
            Exit::FAILED
        }
    }
}

fn usage(service: &str) -> String {
    format!(
        "usage: {service}                 run until SIGTERM or SIGINT\n\
         \x20      {service} --check-config  read the configuration, print it with secrets masked\n\
         \x20      {service} health          ask the running service whether it lives; exit code 0 or 1\n\
         configuration: sluice.toml (or the file in SLUICE_CONFIG), then SLUICE__SECTION__KEY"
    )
}

#[expect(clippy::print_stdout, reason = "the answer of a subcommand")]
fn say(text: &str) -> Exit {
    println!("{text}");
    Exit::OK
}

#[expect(clippy::print_stderr, reason = "there is no log before the configuration is read")]
fn complain(text: &str) {
    eprintln!("{text}");
}

const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

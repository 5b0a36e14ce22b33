#![doc = include_str!("../README.md")]

mod certificates;
pub mod demo;
mod home;
mod init;
mod keys;
mod logs;
mod port;
mod process;
mod redis_server;
mod report;
mod secrets;
mod services;
mod settings;
mod up;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use secrecy::ExposeSecret as _;

use crate::home::Home;

/// Cache, task queues and live progress over one Redis.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about)]
pub struct Arguments {
    /// The folder of the stack on this machine: data, secrets, logs
    #[arg(long, global = true, env = "SLUICE_DATA", default_value = ".sluice")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the whole stack: every service in one process, on a private Redis
    Up(Up),
    /// Say what runs, where, and whether it is ready; exit 3 when nothing runs, 1 when something is not ready
    Status,
    /// Print the log of a stack in the background
    Logs {
        /// Go on with what comes, until the stack stops
        #[arg(short, long)]
        follow: bool,
        /// So many lines from the end
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: usize,
    },
    /// Stop the stack; data and secrets stay
    Down,
    /// API keys: of the stack that runs here, else of the configured Redis
    #[command(subcommand)]
    Keys(Keys),
    /// A real job, watched live, with its worker killed in the middle
    Demo(demo::Options),
    /// Make the secrets of a compose stack, once
    Init(Init),
    /// What stands between a stack and its Redis
    #[command(hide = true)]
    KeepRedis {
        process_file: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Up {
    /// Return when the stack is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// The port of the private Redis
    #[arg(long, env = "SLUICE_REDIS_PORT", default_value_t = 5240)]
    redis_port: u16,
    /// How `--detach` calls this program again
    #[arg(long, hide = true)]
    in_background: bool,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Make a key and print it, once
    Create {
        /// Names the key in lists and logs: a-z, 0-9, -
        id: String,
        /// What it may do, such as `cache:read@acme-*`; several times for several
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// How long it holds; for ever when left out
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
    },
    /// List the keys: ids, expiry, scopes; never a secret
    List,
    /// Take a key away; every service refuses it within 5 s
    Revoke {
        /// As `list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
struct Init {
    /// The volume that the services mount
    #[arg(long, default_value = "/secrets")]
    volume: PathBuf,
    #[command(subcommand)]
    what: Option<InitCommand>,
}

#[derive(Debug, Subcommand)]
enum InitCommand {
    /// Print the first API key
    ShowKey,
    /// Replace the certificates of Redis and its clients; start the stack again after it
    RenewCertificates,
}

/// As systemd's: what was asked about does not run.
const NOT_RUNNING: u8 = 3;

/// Runs what `arguments` say; an error is printed to the standard error.
pub fn run(arguments: Arguments) -> ExitCode {
    match command(arguments) {
        Ok(code) => code,
        Err(error) => {
            say_error(&error);
            if error.is::<http_kit::ConfigError>() {
                http_kit::Exit::CONFIG.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn command(Arguments { data, command }: Arguments) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(Init { volume, what: None }) => {
            init::make(&volume)?;
            say(format_args!("the secrets in {} are complete", volume.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Init(Init { volume, what: Some(InitCommand::ShowKey) }) => {
            say(format_args!("{}", init::bootstrap_key(&volume)?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Init(Init { volume, what: Some(InitCommand::RenewCertificates) }) => {
            init::renew_certificates(&volume)?;
            say(format_args!("there are new certificates; start the stack again, so that all have them"));
            Ok(ExitCode::SUCCESS)
        }
        Command::KeepRedis { process_file, command } => {
            let (program, arguments) = command.split_first().context("no program to keep")?;
            redis_server::keep(&process_file, program.as_ref(), arguments)
        }
        other => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let outcome = runtime.block_on(with_home(&Home::at(&data)?, other));
            // A service that did not stop in its time does not keep the program.
            runtime.shutdown_background();
            outcome
        }
    }
}

/// The commands about the stack in `home`.
async fn with_home(home: &Home, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(Up { detach: true, redis_port, .. }) => {
            return up::background(&home.make()?, redis_port).await;
        }
        Command::Up(Up { redis_port, in_background, .. }) => {
            return up::foreground(&home.make()?, redis_port, in_background).await;
        }
        Command::Status => {
            let Some(running) = home.running()? else {
                say(format_args!("nothing runs here; `sluice up` starts it"));
                return Ok(NOT_RUNNING.into());
            };
            return Ok(if report::status(&running).await { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Logs { follow, lines } => logs::print(home, lines, follow).await?,
        Command::Down if up::down(home).await? => say(format_args!("sluice has stopped; its data stays")),
        Command::Down => say(format_args!("nothing ran here")),
        Command::Keys(command) => with_keys(home, command).await?,
        Command::Demo(options) => return demo::run(&home.make()?, options).await,
        Command::Init(_) | Command::KeepRedis { .. } => unreachable!("done without a stack"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn with_keys(home: &Home, command: Keys) -> anyhow::Result<()> {
    let redis = settings::redis_of(home)?;
    let now = redis.clock().now();
    match command {
        Keys::Create { id, scopes, expires_in_days } => {
            let life = expires_in_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
            let key = keys::create(&redis, &id, &scopes, life, now).await?;
            say(format_args!("{}", key.expose_secret()));
        }
        Keys::List => say(format_args!("{}", keys::table(&keys::list(&redis).await?, now))),
        Keys::Revoke { id } if keys::revoke(&redis, &id).await? => {
            say(format_args!("`{id}` is revoked; every service refuses it within 5 s"));
        }
        Keys::Revoke { id } => {
            anyhow::bail!("there is no key with the id `{id}`; `sluice keys list` shows all")
        }
    }
    Ok(())
}

/// Answers. Whoever asked may have gone (`sluice logs | head`): then nobody is left to tell.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Says what went wrong.
fn say_error(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "sluice: {error:#}");
}

//! The command line of Sluice.
//!
//! `sluice up` runs every service in one process on a private Redis; `sluice init` makes the secrets
//! of a compose stack; `sluice keys` makes and takes away API keys. The services stay what they are
//! alone: they share no state here and meet only in Redis.

mod acl;
mod init;
mod secrets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Cache, task queues and live progress over one Redis.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the secrets of a compose stack, once
    Init(Init),
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
}

/// Runs what `arguments` say; an error is printed as one line.
pub fn run(arguments: Arguments) -> ExitCode {
    match command(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(Init { volume, what: None }) => {
            init::make(&volume)?;
            say(format_args!("the secrets in {} are complete", volume.display()));
        }
        Command::Init(Init { volume, what: Some(InitCommand::ShowKey) }) => {
            say(format_args!("{}", init::bootstrap_key(&volume)?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "a command line answers on its standard output")]
fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a command line says errors on its standard error")]
fn say_error(error: &anyhow::Error) {
    eprintln!("sluice: {error:#}");
}

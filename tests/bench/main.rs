//! `make bench`: measures Sluice against bare handlers and peers, in turns, in one run. docs/performance.md says what
//! each case is and how to read the table.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool: the table is its output")]

mod answer;
mod cases;
mod drain;
mod hammer;
mod hello;
mod http_case;
mod judge;
mod limiter_case;
mod load;
mod peers;
mod process;
mod reference;
mod report;
mod request;
mod server;
mod stage;
mod upstream;
mod worker;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

use crate::hammer::Hammer;
use crate::report::{Case, Report};

#[derive(Debug, Parser)]
#[command(about = "Measures Sluice against bare handlers and peers")]
struct Arguments {
    /// An area (`smoke`) or a case (`smoke/cache_get_vs_bare`); all when left out.
    #[arg(long)]
    only: Option<String>,
    /// How often each side of a case is run.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// How long each run is measured.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Threads of each HTTP server. One leaves the second core of a small machine to Redis and the load.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Tasks that a worker drains.
    #[arg(long, default_value_t = 50_000)]
    tasks: usize,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this binary starts itself as.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    /// The bare HTTP reference.
    #[command(hide = true)]
    Bare,
    /// A worker process with a handler that does nothing.
    #[command(hide = true)]
    Worker,
    /// The limiter as a library.
    #[command(hide = true)]
    Hammer(Hammer),
    /// hyper hello world.
    #[command(hide = true)]
    Hello,
    /// What the proxies stand in front of.
    #[command(hide = true)]
    Upstream,
}

/// How it is measured.
struct Plan {
    repetitions: usize,
    measured: Duration,
    workers: usize,
    tasks: usize,
    /// `target/bench`
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.role {
        Some(Role::Bare) => reference::serve(),
        Some(Role::Worker) => worker::work(),
        Some(Role::Hammer(hammer)) => hammer.run(),
        Some(Role::Hello) => hello::serve(),
        Some(Role::Upstream) => upstream::serve(),
        None => on_one_thread(bench(&arguments)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn on_one_thread(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = Plan::of(arguments)?;
    let _alone = alone()?;
    let mut report = Report { machine: machine()?, cases: Vec::new() };
    let mut failed = Vec::new();
    let is_meant = |name| cases::is_meant(name, arguments.only.as_deref());

    for case in cases::HTTP.iter().filter(|case| is_meant(case.name)) {
        announce(case.name);
        note(case.run(&plan).await.context(case.name), &mut report, &mut failed);
    }
    for case in cases::LIMITERS.iter().filter(|case| is_meant(case.name)) {
        announce(case.name);
        note(case.run(&plan).await.context(case.name), &mut report, &mut failed);
    }
    if is_meant(cases::DRAIN.0) {
        announce(cases::DRAIN.0);
        note(drain::run(cases::DRAIN, &plan).await.context(cases::DRAIN.0), &mut report, &mut failed);
    }
    ensure!(
        !report.cases.is_empty() || !failed.is_empty(),
        "there is no case {}",
        arguments.only.as_deref().unwrap_or_default()
    );

    report.write(&plan.folder)?;
    println!("\n{}", report.table());
    for error in &failed {
        println!("could not be measured: {error:#}\n");
    }
    let missed: Vec<&str> =
        report.cases.iter().filter(|case| !case.holds()).map(|case| &*case.name).collect();
    ensure!(failed.is_empty(), "{} of the cases could not be measured", failed.len());
    ensure!(missed.is_empty(), "not reached: {}", missed.join(", "));
    Ok(())
}

fn note(outcome: anyhow::Result<Case>, report: &mut Report, failed: &mut Vec<anyhow::Error>) {
    match outcome {
        Ok(case) => report.cases.push(case),
        Err(error) => failed.push(error),
    }
}

fn announce(case: &str) {
    println!("{case} …");
}

impl Plan {
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        ensure!(
            arguments.repetitions > 0 && arguments.workers > 0 && arguments.tasks > 0,
            "at least 1 of each"
        );
        let exe = std::env::current_exe()?;
        let target = exe.ancestors().nth(2).context("cargo puts binaries into target/<profile>")?;
        Ok(Self {
            repetitions: arguments.repetitions,
            measured: Duration::try_from_secs_f64(arguments.seconds)?,
            workers: arguments.workers,
            tasks: arguments.tasks,
            folder: target.join("bench"),
        })
    }

    /// Where peers are installed.
    fn peers(&self) -> PathBuf {
        self.folder.join("peers")
    }
}

/// Holds the machine's lock as long as it lives: two benches at once would measure each other.
fn alone() -> anyhow::Result<File> {
    let path = std::env::temp_dir().join("sluice-bench.lock");
    let file =
        File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        println!("another bench is running; waiting for {}", path.display());
        file.lock()?;
    }
    Ok(file)
}

/// What it ran on, for whoever compares two reports.
fn machine() -> anyhow::Result<String> {
    let field = |file: &str, name: &str| -> anyhow::Result<String> {
        let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
        let value =
            text.lines().find_map(|line| Some(line.strip_prefix(name)?.split_once(':')?.1.trim().to_owned()));
        Ok(value.unwrap_or_else(|| "?".to_owned()))
    };
    let cores = std::thread::available_parallelism()?;
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").parse()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{cores} x {}, {} GiB, Linux {}, {}",
        field("/proc/cpuinfo", "model name")?,
        kib / (1024 * 1024),
        kernel.trim(),
        redis_version()?,
    ))
}

fn redis_version() -> anyhow::Result<String> {
    let server = std::env::var_os("SLUICE_TEST_REDIS").unwrap_or_else(|| "redis-server".into());
    let output = std::process::Command::new(&server).arg("--version").output();
    let output = output.with_context(|| Path::new(&server).display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("?");
    Ok(format!("{} {version}", text.split_whitespace().next().unwrap_or("Redis")))
}

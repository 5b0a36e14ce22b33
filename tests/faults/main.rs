//! `make faults`: breaks what the services stand on while clients use them, and judges what the clients saw.
//! docs/faults.md says what each fault is and how to read the table.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool: the table is its output")]

mod clients;
mod fault;
mod history;
mod judge;
mod report;
mod stand;

use crate::clients::Clients;
use crate::fault::Fault;
use crate::history::Service;
use crate::judge::Limit;
use crate::report::Row;
use crate::stand::Stand;
use anyhow::ensure;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(about = "Breaks Redis under the services, and judges what their clients saw")]
struct Arguments {
    /// An area (`redis`), or a fault of it (`redis/kill`); all when left out.
    #[arg(long)]
    only: Option<String>,
    /// How long a fault lasts, where it lasts at all.
    #[arg(long, default_value_t = 3.0)]
    seconds_each: f64,
    /// Decides when clients ask; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Where report.json goes.
    #[arg(long, default_value = "target/faults")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let is_asked_for = |fault: &Fault| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| only == "redis" || only == format!("redis/{}", fault.name()))
    };
    let faults: Vec<_> = Fault::ALL.into_iter().filter(is_asked_for).collect();
    ensure!(!faults.is_empty(), "there is no area and no fault {:?}", arguments.only);
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let lasts = Duration::try_from_secs_f64(arguments.seconds_each)?;

    println!("seed {seed}\n{}", report::HEAD);
    let mut rows = Vec::new();
    for fault in faults {
        let mut stand = Stand::start(fault).await?;
        happened(fault, &mut stand, lasts, seed, &mut rows).await?;
        report::write_log(fault.name(), &stand.logs(), &arguments.folder)?;
    }
    report::write(&rows, &arguments.folder)?;
    let broken = rows.iter().filter(|row| !row.holds).count();
    ensure!(broken == 0, "{broken} of {} broke a promise", rows.len());
    Ok(())
}

/// One fault under load, judged.
async fn happened(
    fault: Fault,
    stand: &mut Stand,
    lasts: Duration,
    seed: u64,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let clients = Clients::start(stand, seed);
    tokio::time::sleep(WARM_UP).await;
    fault.happen(&mut stand.ground, lasts).await?;
    let mended = clients.elapsed();
    tokio::time::sleep(AFTER).await;
    let records = clients.finish().await?;
    for service in Service::ALL {
        let verdict = judge::judge(service, &records, mended, LIMIT);
        let row = Row::new(service, fault.name(), seed, verdict);
        println!("{}", row.line());
        rows.push(row);
    }
    Ok(())
}

/// That of `gateway.toml`.
const LIMIT: Limit = Limit { most: 10, window: Duration::from_secs(1) };
const WARM_UP: Duration = Duration::from_secs(1);
/// Longer than any recovery may take.
const AFTER: Duration = Duration::from_secs(4);

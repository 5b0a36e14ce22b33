//! `sluice`: the command line.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    sluice::run(sluice::Arguments::parse())
}

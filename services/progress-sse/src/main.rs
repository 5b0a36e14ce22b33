//! Starts progress-sse.

use std::process::ExitCode;

fn main() -> ExitCode {
    http_kit::main("progress-sse", progress_sse::run)
}

//! Starts queue-worker.

fn main() -> std::process::ExitCode {
    http_kit::main("queue-worker", queue_worker::run)
}

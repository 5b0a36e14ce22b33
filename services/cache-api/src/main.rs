//! Starts cache-api.

fn main() -> std::process::ExitCode {
    http_kit::main("cache-api", cache_api::run)
}

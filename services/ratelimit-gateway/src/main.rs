//! Starts ratelimit-gateway.

fn main() -> std::process::ExitCode {
    http_kit::main("ratelimit-gateway", ratelimit_gateway::run)
}

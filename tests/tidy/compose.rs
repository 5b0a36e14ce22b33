//! `docker-compose.yml`, the image and the one Redis configuration: what no container may lack, read from their text.
//!
//! What the containers then do, only the end-to-end test can show; it needs a Docker engine, this needs none.

use crate::tree::Tree;

/// The services with the user of each: the one that `sluice init` gives its secrets to.
const USERS: [(&str, &str); 7] = [
    ("init", "0:0"),
    ("redis", "999:1000"),
    ("cache-api", "5241:5241"),
    ("ratelimit-gateway", "5242:5242"),
    ("queue-worker", "5243:5243"),
    ("progress-sse", "5244:5244"),
    ("keys", "5245:5245"),
];

/// What each has, in a block of its own or in one that it merges.
const ALWAYS: [&str; 6] = [
    "read_only: true",
    "cap_drop: [ALL]",
    "no-new-privileges:true",
    "mem_limit: ",
    "pids_limit: ",
    "logging: ",
];

/// What some have besides.
const LINES: [(&str, &[&str]); 13] = [
    (
        "init",
        &[
            "cap_add: [CHOWN, DAC_OVERRIDE, FOWNER]",
            "network_mode: none",
            "restart: \"no\"",
            "volumes: [\"secrets:/secrets\"]",
        ],
    ),
    (
        "redis",
        &[
            "image: redis:7.2-alpine",
            "- --aclfile",
            "- --dir",
            "- --bind",
            "./deploy/redis/redis.conf:/etc/sluice/redis.conf:ro",
            "secrets:/secrets:ro",
            "redis-data:/data",
            "networks: [backend]",
            "init: { condition: service_completed_successfully }",
            "healthcheck:",
            "stop_grace_period: ",
            // Twice the 512 MB of redis.conf.
            "mem_limit: 1g",
        ],
    ),
    ("cache-api", SERVICE),
    // Each logs in to Redis as itself.
    (
        "cache-api",
        &["SLUICE__REDIS__USERNAME: cache-api", "SLUICE__REDIS__PASSWORD_FILE: /secrets/cache-api/"],
    ),
    (
        "ratelimit-gateway",
        &[
            "SLUICE__REDIS__USERNAME: ratelimit-gateway",
            "SLUICE__REDIS__PASSWORD_FILE: /secrets/ratelimit-gateway/",
        ],
    ),
    (
        "queue-worker",
        &["SLUICE__REDIS__USERNAME: queue-worker", "SLUICE__REDIS__PASSWORD_FILE: /secrets/queue-worker/"],
    ),
    (
        "progress-sse",
        &["SLUICE__REDIS__USERNAME: progress-sse", "SLUICE__REDIS__PASSWORD_FILE: /secrets/progress-sse/"],
    ),
    (
        "keys",
        &[
            "SLUICE__REDIS__USERNAME: keys",
            "SLUICE__REDIS__PASSWORD_FILE: /secrets/keys/",
            // Only by hand, and it needs no way out.
            "profiles: [by-hand]",
            "networks: [backend]\n",
        ],
    ),
    ("ratelimit-gateway", SERVICE),
    // The folder, so that an editor that replaces the file is seen.
    ("ratelimit-gateway", &["./deploy/gateway:/etc/sluice/gateway:ro"]),
    ("queue-worker", SERVICE),
    // A range, so that each replica finds a port.
    ("queue-worker", &["ports: [\"127.0.0.1:5260-5279:5243\"]"]),
    ("progress-sse", SERVICE),
];

const SERVICE: &[&str] = &[
    "networks: [backend, edge]",
    "secrets:/secrets:ro",
    "init: { condition: service_completed_successfully }",
    "redis: { condition: service_healthy }",
    "healthcheck: { test: [CMD, ",
    "stop_grace_period: ",
    "restart: unless-stopped",
];

const REDIS_CONF: [&str; 7] = [
    "port 5240",
    "maxmemory 512mb",
    "maxmemory-policy volatile-lru",
    "appendonly yes",
    "appendfsync everysec",
    "save ",
    "protected-mode yes",
];

/// What differs between a laptop and a container, and what nobody may read.
const NOT_IN_REDIS_CONF: [&str; 6] = ["aclfile", "dir", "bind", "requirepass", "user", "masterauth"];

pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let text = |path: &str| tree.get(path).map_or("", |file| file.text.as_str());
    let mut complaints = of_compose(text("docker-compose.yml"));
    complaints.extend(of_overlay(text("docker-compose.tls.yml"), text("docker-compose.yml")));
    complaints.extend(of_redis_conf(text("deploy/redis/redis.conf")));
    complaints.extend(of_dockerfile(text("deploy/Dockerfile")));
    complaints
}

fn of_compose(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut require = |service: &str, block: &str, line: &str| {
        if !block.contains(line) {
            complaints.push(format!("docker-compose.yml: {service} lacks `{}`", line.trim()));
        }
    };
    for (service, user) in USERS {
        let block = merged(text, service);
        require(service, &block, &format!("user: \"{user}\""));
        ALWAYS.iter().for_each(|line| require(service, &block, line));
    }
    for (service, lines) in LINES {
        let block = merged(text, service);
        lines.iter().for_each(|line| require(service, &block, line));
    }
    require("networks", text, "backend: { internal: true }");
    for service in USERS.map(|(service, _)| service) {
        let block = merged(text, service);
        if service != "init" && block.contains("cap_add") {
            complaints.push(format!("docker-compose.yml: {service} needs no capability"));
        }
        let published = block.lines().filter(|line| line.trim_start().starts_with("ports:"));
        for line in published.filter(|line| !line.contains("\"127.0.0.1:")) {
            complaints.push(format!(
                "docker-compose.yml: {service} is published beyond 127.0.0.1: {}",
                line.trim()
            ));
        }
        if service == "redis" && block.contains("ports:") {
            complaints.push("docker-compose.yml: redis is published by an override only".to_owned());
        }
        if service == "init" && block.contains("redis-data") {
            complaints.push("docker-compose.yml: init never touches the data of Redis".to_owned());
        }
    }
    complaints
}

/// With TLS, Redis is as without it but for its port; and nobody who logs in is forgotten.
fn of_overlay(text: &str, plain: &str) -> Vec<String> {
    let argument = |line: &&str| line.starts_with("      - ");
    let (redis, before) = (below(text, "  redis:"), below(plain, "  redis:"));
    let before = before.split("healthcheck:").next().unwrap_or_default().lines().filter(argument);
    let kept = before.filter(|line| {
        !line.contains("/etc/sluice/redis.conf:ro") && !line.contains("secrets:") && !line.contains("-data:")
    });
    let needed = kept.chain([
        "      - --port\n      - \"0\"",
        "      - --tls-port\n      - \"5240\"",
        "      - --tls-auth-clients\n      - \"yes\"",
        "--tls --cacert ",
    ]);
    let mut complaints: Vec<String> = needed
        .filter(|line| !redis.contains(line))
        .map(|line| format!("docker-compose.tls.yml: redis lacks `{}`", line.trim()))
        .collect();
    for service in USERS.map(|(service, _)| service).into_iter().filter(|it| !["init", "redis"].contains(it))
    {
        let block = below(text, &format!("  {service}:"));
        let files = [("CA_FILE", "redis.ca.crt"), ("CERT_FILE", "redis.crt"), ("KEY_FILE", "redis.key")];
        let files =
            files.map(|(key, file)| format!("SLUICE__REDIS__TLS__{key}: /secrets/{service}/{file}\n"));
        let lines = files.into_iter().chain(["SLUICE__REDIS__URL: rediss://redis:5240\n".to_owned()]);
        let missing = lines.filter(|line| !block.contains(line.as_str()));
        complaints
            .extend(missing.map(|line| format!("docker-compose.tls.yml: {service} lacks `{}`", line.trim())));
    }
    complaints
}

fn of_redis_conf(text: &str) -> Vec<String> {
    let settings: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let missing =
        REDIS_CONF.iter().filter(|line| !settings.iter().any(|setting| setting.starts_with(**line)));
    let mut complaints: Vec<String> =
        missing.map(|line| format!("deploy/redis/redis.conf: lacks `{}`", line.trim())).collect();
    let name = |setting: &str| setting.split(' ').next().unwrap_or_default().to_owned();
    let strays = settings.iter().filter(|setting| NOT_IN_REDIS_CONF.contains(&name(setting).as_str()));
    complaints.extend(
        strays.map(|line| format!("deploy/redis/redis.conf: `{}` comes on the command line", name(line))),
    );
    complaints
}

fn of_dockerfile(text: &str) -> Vec<String> {
    let complain = |what: &str| format!("deploy/Dockerfile: {what}");
    let mut complaints = Vec::new();
    if text.contains("# syntax=") || text.contains("--mount") {
        complaints.push(complain("the classic builder must build it, too"));
    }
    let last = text.rsplit("\nFROM ").next().unwrap_or_default();
    if !last.contains("\nUSER ") || last.contains("\nUSER 0") || last.contains("\nUSER root") {
        complaints.push(complain("who runs the image is not root"));
    }
    // The layer with the compiled dependencies is kept when only sources change.
    let builds = text.match_indices("cargo build").map(|(at, _)| at).collect::<Vec<_>>();
    let sources = text.rfind("\nCOPY . .").unwrap_or_default();
    let manifests = text.find("\nCOPY --from=manifests ").unwrap_or(usize::MAX);
    if builds.len() != 2 || manifests > builds[0] || builds[0] > sources || builds[1] < sources {
        complaints.push(complain("dependencies are built before the sources are copied"));
    }
    complaints
}

/// The block of a service, and what it merges (`<<: *name`), in turn.
fn merged(text: &str, service: &str) -> String {
    let mut block = below(text, &format!("  {service}:"));
    let mut at = 0;
    while let Some(found) = block[at..].find("<<: *") {
        at += found + "<<: *".len();
        let anchor = block[at..].lines().next().unwrap_or_default().trim().to_owned();
        let head = text.lines().find(|line| line.ends_with(&format!("&{anchor}"))).unwrap_or_default();
        block.push_str(&below(text, head));
    }
    block
}

/// The lines below `head` that are indented deeper; comments are left out.
fn below(text: &str, head: &str) -> String {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let lines = text.lines().skip_while(|line| *line != head).skip(1);
    let lines = lines.take_while(|line| line.trim().is_empty() || depth(line) > depth(head));
    let told = lines.filter(|line| !line.trim_start().starts_with('#'));
    told.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The repository with one replacement in one file.
    fn doctored(path: &str, before: &str, after: &str) -> Vec<String> {
        let tree = Tree::read();
        let text = |path: &str| tree.get(path).unwrap().text.clone();
        let paths =
            ["docker-compose.yml", "docker-compose.tls.yml", "deploy/redis/redis.conf", "deploy/Dockerfile"];
        let files = paths.map(|each| {
            let whole = text(each);
            assert!(each != path || whole.contains(before), "{path} has no {before:?}");
            (each, if each == path { whole.replacen(before, after, 1) } else { whole })
        });
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        complaints(&Tree::of(&files))
    }

    #[test]
    fn a_container_with_a_right_too_many_or_a_bound_too_few_is_reported() {
        let file = "docker-compose.yml";
        for (before, after) in [
            ("read_only: true", "read_only: false"),
            ("cap_drop: [ALL]", "cap_drop: []"),
            ("user: \"999:1000\"", "user: \"0:0\""),
            ("user: \"5243:5243\"", "user: \"5241:5241\""),
            ("mem_limit: 1g", "mem_limit: 512m"),
            ("  mem_limit: 512m", ""),
            ("cap_add: [CHOWN, DAC_OVERRIDE, FOWNER]", "cap_add: [CHOWN, DAC_OVERRIDE, FOWNER, NET_RAW]"),
            ("user: \"5241:5241\"", "user: \"5241:5241\"\n    cap_add: [CHOWN]"),
            ("USERNAME: cache-api", "USERNAME: queue-worker"),
            ("/secrets/progress-sse/redis.password", "/secrets/cache-api/redis.password"),
            ("    profiles: [by-hand]\n", ""),
            ("network_mode: none", "networks: [backend]"),
            ("[\"secrets:/secrets\"]", "[\"secrets:/secrets\", \"redis-data:/data\"]"),
            ("secrets:/secrets:ro", "secrets:/secrets"),
            (
                "      init: { condition: service_completed_successfully }",
                "      init: { condition: service_started }",
            ),
            ("    init: { condition: service_completed_successfully }\n    redis", "    redis"),
            ("redis: { condition: service_healthy }", "redis: { condition: service_started }"),
            ("      - --aclfile\n", ""),
            ("backend: { internal: true }", "backend: {}"),
            ("127.0.0.1:${SLUICE_CACHE_API_PORT-5241}:5241", "5241:5241"),
            ("    networks: [backend]", "    networks: [backend]\n    ports: [\"127.0.0.1:5240:5240\"]"),
            ("healthcheck: { test: [CMD, progress-sse", "x: { test: [CMD, progress-sse"),
            ("  stop_grace_period: 35s", ""),
        ] {
            assert_ne!(doctored(file, before, after), Vec::<String>::new(), "{before} -> {after}");
        }
    }

    #[test]
    fn an_overlay_that_leaves_a_door_open_or_somebody_out_is_reported() {
        for (before, after) in [
            ("      - --port\n      - \"0\"\n", ""),
            ("- \"yes\"", "- \"no\""),
            ("      - --aclfile\n", ""),
            ("/secrets/keys/redis.key", "/secrets/cache-api/redis.key"),
            ("rediss://redis:5240", "redis://redis:5240"),
            ("  progress-sse:", "  progress:"),
            ("--tls --cacert", "--cacert"),
        ] {
            let found = doctored("docker-compose.tls.yml", before, after);
            assert_ne!(found, Vec::<String>::new(), "{before} -> {after}");
        }
    }

    #[test]
    fn a_redis_or_an_image_that_is_not_the_promised_one_is_reported() {
        for (file, before, after) in [
            ("deploy/redis/redis.conf", "maxmemory-policy volatile-lru", "maxmemory-policy allkeys-lru"),
            ("deploy/redis/redis.conf", "appendfsync everysec", "appendfsync no"),
            ("deploy/redis/redis.conf", "port 5240", "port 6379"),
            ("deploy/redis/redis.conf", "timeout 0", "timeout 0\nrequirepass secret"),
            ("deploy/redis/redis.conf", "timeout 0", "timeout 0\ndir /data"),
            ("deploy/Dockerfile", "USER 65532:65532", "USER 0:0"),
            ("deploy/Dockerfile", "USER 65532:65532", ""),
            ("deploy/Dockerfile", "RUN cargo", "RUN --mount=type=cache,target=/t cargo"),
            ("deploy/Dockerfile", "COPY . .\n# Cargo goes by time", "# Cargo goes by time"),
            ("deploy/Dockerfile", "COPY --from=manifests /src .", "COPY . ."),
        ] {
            assert_ne!(doctored(file, before, after), Vec::<String>::new(), "{file}: {before} -> {after}");
        }
        assert_eq!(doctored("deploy/Dockerfile", "USER", "USER"), Vec::<String>::new());
    }
}

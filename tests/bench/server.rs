//! Who answers the requests of a case, and how it is started.

use tempfile::TempDir;
use testkit::{Client, Service, free_port};

use crate::Plan;
use crate::peers::{Peer, envoy, nginx};
use crate::stage::{Settings, wait_for};

/// A contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// A service of ours, by its name.
    Service(&'static str),
    /// The same, where nothing is measured.
    Unmeasured(&'static str),
    /// The admin port of ratelimit-gateway, with the rules of `gateway.toml`.
    Admin,
    /// The public port of ratelimit-gateway, in front of [`crate::upstream`].
    Door,
    /// [`crate::reference`]
    Bare,
    /// [`crate::hello`]
    Hello,
    /// nginx in front of the same upstream.
    Nginx,
    /// Envoy in front of the same upstream.
    Envoy,
}

/// One that runs. Its processes end when it is dropped.
pub(crate) struct Running {
    pub(crate) process: Service,
    pub(crate) port: u16,
    pub(crate) upstream: Option<Service>,
    /// With its version where it is not ours.
    pub(crate) name: String,
    _files: TempDir,
}

impl Server {
    /// Whether it does the same work as ours, so that both must run the same commands in Redis.
    pub(crate) fn does_the_same(self) -> bool {
        matches!(self, Self::Bare | Self::Hello)
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(self, settings: &Settings, plan: &Plan) -> anyhow::Result<Running> {
        let files = tempfile::Builder::new().prefix("sluice-bench-").tempdir()?;
        let upstream = match self {
            Self::Admin | Self::Door | Self::Nginx | Self::Envoy => Some(settings.own("upstream").await?),
            Self::Service(_) | Self::Unmeasured(_) | Self::Bare | Self::Hello => None,
        };
        let behind = upstream.as_ref().map_or(0, Service::port);
        let (process, port, name) = match self {
            Self::Service(name) => of_its_own_port(settings.service(name).await?, "Sluice"),
            Self::Unmeasured(name) => {
                of_its_own_port(settings.unmeasured(name).await?, "Sluice without metrics")
            }
            Self::Bare => of_its_own_port(settings.own("bare").await?, "bare actix-web + fred"),
            Self::Hello => of_its_own_port(settings.own("hello").await?, "hyper hello world"),
            Self::Admin | Self::Door => {
                let rules = files.path().join("gateway.toml");
                std::fs::write(&rules, RULES.replace("UPSTREAM", &behind.to_string()))?;
                let process = settings.gateway(&rules).await?;
                let port = if self == Self::Door { process.port() } else { process.admin_port() };
                (process, port, "Sluice".to_owned())
            }
            Self::Nginx => {
                let port = free_port();
                passing(settings, nginx::peer(files.path(), port, behind)?, port).await?
            }
            Self::Envoy => {
                let port = free_port();
                passing(settings, envoy::peer(&plan.peers(), files.path(), port, behind)?, port).await?
            }
        };
        Ok(Running { process, port, upstream, name, _files: files })
    }
}

impl Running {
    /// Who it was, and what it wrote.
    pub(crate) fn complaint(&self) -> String {
        format!("{}; its log:\n{}", self.name, self.process.log())
    }
}

fn of_its_own_port(process: Service, name: &str) -> (Service, u16, String) {
    let port = process.port();
    (process, port, name.to_owned())
}

async fn passing(settings: &Settings, peer: Peer, port: u16) -> anyhow::Result<(Service, u16, String)> {
    let process = settings.peer(&peer, &[])?;
    answers(&process, port, "/").await?;
    Ok((process, port, peer.name))
}

/// Waits until a process answers with success on a port that is not the one testkit gave it.
async fn answers(process: &Service, port: u16, path: &str) -> anyhow::Result<()> {
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    let ask = || {
        let request = client.get(path).send();
        async { request.await.is_ok_and(|answer| answer.status().is_success()) }
    };
    wait_for(process, &format!("nothing answers on port {port}"), ask).await
}

const RULES: &str = include_str!("gateway.toml");

//! Certificates for TLS between the services and Redis: an authority of this installation, one certificate that Redis
//! shows, and one for each of its clients. For `docker-compose.tls.yml`; made in any case, so that it can be laid over
//! a stack that runs.
//!
//! They do not end: whoever could replace them in time can replace them at any time (`sluice init renew-certificates`),
//! and one that ended would stop a stack that nobody looks at.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::secrets::Secrets;

/// The authority's certificate: whoever trusts it talks to this Redis and to no other.
pub(crate) const AUTHORITY: &str = "redis.ca.crt";
const AUTHORITY_KEY: &str = "redis.ca.key";

/// How Redis is called: in compose, on the host of a published port.
const NAMES_OF_REDIS: [&str; 3] = ["redis", "localhost", "127.0.0.1"];

/// Certificate and key of whoever has that name, in the complete set.
pub(crate) fn files_of(name: &str) -> [String; 2] {
    [format!("{name}.redis.crt"), format!("{name}.redis.key")]
}

/// Makes what is missing: for the server `redis`, and for these clients.
pub(crate) fn make_once(secrets: &Secrets, clients: &[&str]) -> anyhow::Result<()> {
    let authority = authority(secrets)?;
    issue(secrets, &authority, "redis", &NAMES_OF_REDIS, &[Usage::ServerAuth, Usage::ClientAuth])?;
    for client in clients {
        issue(secrets, &authority, client, &[client], &[Usage::ClientAuth])?;
    }
    Ok(())
}

/// Takes them all away, so that [`make_once`] makes new ones.
pub(crate) fn forget(secrets: &Secrets, clients: &[&str]) -> anyhow::Result<()> {
    let certificates = clients.iter().chain(&["redis"]).flat_map(|name| files_of(name));
    for file in certificates.chain([AUTHORITY, AUTHORITY_KEY].map(str::to_owned)) {
        secrets.remove(&file)?;
    }
    Ok(())
}

fn authority(secrets: &Secrets) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "sluice: redis");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

    if !secrets.has(AUTHORITY) || !secrets.has(AUTHORITY_KEY) {
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key).context("cannot make an authority")?;
        secrets.write(AUTHORITY_KEY, &key.serialize_pem())?;
        secrets.write(AUTHORITY, &certificate.pem())?;
    }
    let key = KeyPair::from_pem(&secrets.read(AUTHORITY_KEY)?).context("the key of the authority")?;
    Ok(Issuer::new(params, key))
}

fn issue(
    secrets: &Secrets,
    authority: &Issuer<'static, KeyPair>,
    name: &str,
    called: &[&str],
    usages: &[Usage],
) -> anyhow::Result<()> {
    let [certificate_file, key_file] = files_of(name);
    if secrets.has(&certificate_file) && secrets.has(&key_file) {
        return Ok(());
    }
    let called: Vec<_> = called.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(called)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = usages.to_vec();
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority).context("cannot make a certificate")?;
    secrets.write(&key_file, &key.serialize_pem())?;
    secrets.write(&certificate_file, &certificate.pem())
}

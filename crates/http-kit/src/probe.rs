//! `GET /health/live` of a service on this machine: the health check of a container.

use crate::tls::TlsConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What a service said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It lives.
    Lives,
    /// It speaks only with whoever shows a certificate, and has no reason to trust ours: but it speaks.
    WantsCertificate,
    /// Another status line than 200.
    Other(String),
}

/// Asks the service that is bound there, by TLS when it is configured.
///
/// # Errors
/// It does not answer, or not within 2 s.
pub(crate) fn ask(bind: SocketAddr, tls: &TlsConfig) -> io::Result<Said> {
    let address = SocketAddr::new(reachable(bind.ip()), bind.port());
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    if !tls.is_on() {
        return status_of(stream);
    }
    let connection =
        ClientConnection::new(Arc::new(client()?), address.ip().into()).map_err(io::Error::other)?;
    status_of(StreamOwned::new(connection, stream)).or_else(|error| {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(rustls::Error::AlertReceived(_)) => Ok(Said::WantsCertificate),
            _ => Err(error),
        }
    })
}

fn status_of(mut stream: impl Read + Write) -> io::Result<Said> {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut status_line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status_line)?;
    let status_line = String::from_utf8_lossy(&status_line);
    Ok(if status_line.ends_with(" 200") { Said::Lives } else { Said::Other(status_line.into_owned()) })
}

/// An address that stands for all of them cannot be called.
fn reachable(bound: IpAddr) -> IpAddr {
    match bound {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        bound => bound,
    }
}

fn client() -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let any = Arc::new(AnyCertificate(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_no_client_auth())
}

/// The certificate is for the name that clients call, and we call a loopback address; the question holds no secret, and
/// the answer is one bit.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const DEADLINE: Duration = Duration::from_secs(2);

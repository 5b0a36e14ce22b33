//! How a service asks what it stands on, without knowing what that is.

use crate::Timestamp;
use serde_json::Value;

/// Whether requests can be served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// They cannot, and why, for a person without any right: no address, no secret.
    NotReady(String),
}

/// What a service keeps its data in, as the service's HTTP surface sees it.
pub trait Backend: Send + Sync + 'static {
    /// Under which `/health` shows it.
    const NAME: &'static str;

    /// Whether it answers and takes writes. However often it is asked, it costs at most one round trip a second.
    fn readiness(&self) -> impl Future<Output = Readiness> + Send;

    /// All that is known of it, for an operator. At most a few round trips a second.
    fn health(&self) -> impl Future<Output = Value> + Send;

    /// What is stored of the API keys that were made at run time, a JSON text each.
    ///
    /// # Errors
    /// They cannot be read now; those read before hold on.
    fn api_keys(&self) -> impl Future<Output = Result<Vec<String>, BackendError>> + Send;

    /// Notes when keys were last used, by id: for who manages them. At most once a minute, only those used since.
    ///
    /// # Errors
    /// It may not have been noted; what was not is told again.
    fn note_last_uses(
        &self,
        uses: Vec<(String, Timestamp)>,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// Why a backend did not answer.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;

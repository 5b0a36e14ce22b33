//! `Idempotency-Key`: makes a repeated enqueue answer with the first task.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::IdempotencyKey;
use http_kit::Problem;
use std::future::{Ready, ready};

/// The header, when there is one. 422 when it is no key.
pub(crate) struct Idempotency(pub(crate) Option<IdempotencyKey>);

impl Idempotency {
    /// The key of one task of a batch: the header's, then a dot and the task's place in the batch.
    ///
    /// # Errors
    /// 422: it is too long for that.
    pub(crate) fn of_item(&self, index: usize) -> Result<Option<IdempotencyKey>, Problem> {
        let item = |key: &IdempotencyKey| format!("{key}.{index}").parse::<IdempotencyKey>();
        let too_long = |_| Problem::field(HEADER, "at most 124 characters for a batch");
        self.0.as_ref().map(item).transpose().map_err(too_long)
    }
}

impl FromRequest for Idempotency {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get(HEADER);
        // What is no text has a character that no key may have.
        let key =
            header.map(|value| value.to_str().unwrap_or_default().parse::<IdempotencyKey>()).transpose();
        ready(key.map(Self).map_err(|error| Problem::field(HEADER, error.to_string())))
    }
}

const HEADER: &str = "Idempotency-Key";

//! The live page: one file, put together and hashed once. Nothing in it comes from a request.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// The page and the policy that lets a browser run it and nothing else.
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) policy: String,
}

pub(crate) static WATCH: LazyLock<Page> = LazyLock::new(|| {
    let (style, script) = (include_str!("page/watch.css"), include_str!("page/watch.js"));
    let html = include_str!("page/watch.html").replace("{{STYLE}}", style).replace("{{SCRIPT}}", script);
    let hash = |text: &str| BASE64.encode(&Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(script),
        hash(style)
    );
    Page { html, policy }
});

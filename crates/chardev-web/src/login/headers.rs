//! What browsers are told with every answer.

use std::sync::Arc;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::secret::fresh;

const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// What a page may do: nothing that is not ours. Nothing is said inline but styles that carry the
/// nonce of this answer, which the terminal makes.
fn policy(nonce: Option<&str>) -> String {
    let styles = nonce.map_or(String::new(), |nonce| format!(" 'nonce-{nonce}'"));
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'{styles}; connect-src 'self'; \
         img-src 'self' data:; font-src 'self'; manifest-src 'self'; base-uri 'none'; \
         frame-ancestors 'none'; form-action 'self'"
    )
}

/// A word that marks what an answer says inline, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nonce(Arc<OnceLock<String>>);

impl Nonce {
    /// The word, for what is marked with it.
    pub(crate) fn get(&self) -> &str {
        self.0.get_or_init(fresh)
    }
}

pub(super) fn add(headers: &mut HeaderMap, nonce: &Nonce) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy(nonce.0.get().map(String::as_str))) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // What is a secret of somebody's is not kept on a disk.
    let store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(store);
}

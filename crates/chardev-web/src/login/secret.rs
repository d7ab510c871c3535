//! Secrets that nobody guesses: made here, and kept as what cannot be used.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

/// What is kept of a secret.
pub(crate) type Hash = [u8; 32];

/// 256 bits from the kernel, as text for URLs and cookies.
pub(crate) fn fresh() -> String {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        // It fails for an interruption alone, and only until the kernel has booted.
        if let Ok(count) = rustix::rand::getrandom(&mut bytes[filled..], flags) {
            filled += count;
        }
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256. Whoever compares these learns nothing by how long it takes.
pub(crate) fn hash(secret: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

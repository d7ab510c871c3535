//! The files of the page, which are in the program.

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::Failure;
use crate::login::Nonce;

/// A file.
#[derive(Debug)]
struct File {
    name: &'static str,
    etag: &'static str,
    bytes: &'static [u8],
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Where a page says this, the nonce of its answer is put.
const NONCE: &str = "{{nonce}}";

/// Whether the terminal was there when this was built.
pub(crate) fn has_terminal() -> bool {
    find("xterm/xterm.js").is_some()
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

/// A file by its path; the page itself at the paths that people have.
pub(crate) async fn file(Extension(nonce): Extension<Nonce>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Failure::new(status, "method", "this is only to be read").into_response();
    }
    let name = match request.uri().path() {
        "/" | "/login" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let Some(file) = find(name) else {
        let status = StatusCode::NOT_FOUND;
        return Failure::new(status, "not-found", "there is no such page").into_response();
    };
    let kind = (header::CONTENT_TYPE, kind(file.name));
    // It is asked for again each time, and sent if it has changed with the program.
    let cache = (header::CACHE_CONTROL, "no-cache");
    if let Some(text) = text_with_nonce(file, &nonce) {
        return ([kind], text).into_response();
    }
    let known = request.headers().get(header::IF_NONE_MATCH);
    let etag = (header::ETAG, file.etag);
    match known.is_some_and(|known| known == file.etag) {
        true => (StatusCode::NOT_MODIFIED, [etag, cache]).into_response(),
        false => ([kind, etag, cache], Body::from(file.bytes)).into_response(),
    }
}

fn text_with_nonce(file: &File, nonce: &Nonce) -> Option<String> {
    if !file.name.ends_with(".html") {
        return None;
    }
    let text = std::str::from_utf8(file.bytes).ok()?;
    text.contains(NONCE)
        .then(|| text.replace(NONCE, nonce.get()))
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

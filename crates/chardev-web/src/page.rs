//! The files of the page, which are in the program.

use std::io::Read as _;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

use crate::error::Failure;

/// A file.
#[derive(Debug)]
struct File {
    name: &'static str,
    etag: &'static str,
    /// It as gzip.
    packed: &'static [u8],
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Whether the terminal was there when this was built.
pub(crate) fn has_terminal() -> bool {
    find("xterm/xterm.js").is_some()
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

/// A file by its path; the page itself at the paths that people have.
pub(crate) async fn file(request: Request) -> Response {
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
    // It is asked for again each time, and sent if it has changed with the program.
    let about = [
        (header::ETAG, file.etag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
    ];
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known == file.etag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let kind = [(header::CONTENT_TYPE, kind(file.name))];
    match takes_gzip(request.headers()) {
        true => {
            let packed = [(header::CONTENT_ENCODING, "gzip")];
            (about, kind, packed, Body::from(file.packed)).into_response()
        }
        false => (about, kind, Body::from(unpack(file))).into_response(),
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut words = accepted
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    words.any(|word| word.trim().eq_ignore_ascii_case("gzip"))
}

/// For programs that are no browsers.
fn unpack(file: &File) -> Bytes {
    let mut bytes = Vec::new();
    // What this build has packed can be unpacked, into memory.
    let _ = GzDecoder::new(file.packed).read_to_end(&mut bytes);
    bytes.into()
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

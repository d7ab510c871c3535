//! What a request is told that fails.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chardev::ViewError;
use chardev_monitor::{Json, Object, QmpError};
use chardev_qapi::ErrorKind;

/// A status, and why, for people and for programs.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    class: &'static str,
    words: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, class: &'static str, words: impl Into<String>) -> Self {
        Failure {
            status,
            class,
            words: words.into(),
        }
    }

    /// The request itself is wrong.
    pub(crate) fn bad(words: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "bad-request", words)
    }

    /// There is no such console, or not for whoever asks.
    pub(crate) fn not_found(id: &str) -> Self {
        let words = format!("Chardev '{id}' not found");
        Failure::new(StatusCode::NOT_FOUND, "not-found", words)
    }

    /// Nobody is logged in.
    pub(crate) fn unknown() -> Self {
        let words = "log in first: 'chardevctl web' prints a link";
        Failure::new(StatusCode::UNAUTHORIZED, "not-logged-in", words)
    }

    /// Whoever asks is known, and may not.
    pub(crate) fn forbidden(words: impl Into<String>) -> Self {
        Failure::new(StatusCode::FORBIDDEN, "forbidden", words)
    }

    /// There is no room for more.
    pub(crate) fn too_many(words: impl Into<String>) -> Self {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too-many", words)
    }
}

impl From<QmpError> for Failure {
    fn from(error: QmpError) -> Self {
        let (status, class) = match error.kind() {
            Some(kind @ (ErrorKind::NotFound | ErrorKind::NoFile)) => {
                (StatusCode::NOT_FOUND, kind.as_str())
            }
            Some(kind @ ErrorKind::Denied) => (StatusCode::BAD_REQUEST, kind.as_str()),
            Some(kind) => (StatusCode::CONFLICT, kind.as_str()),
            None if error
                .desc
                .starts_with("Permission denied: this needs the role") =>
            {
                (StatusCode::FORBIDDEN, "forbidden")
            }
            None => (StatusCode::BAD_REQUEST, "failed"),
        };
        Failure::new(status, class, error.desc)
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::NotFound(id) => Failure::not_found(&id),
            error @ ViewError::Ahead { .. } => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                Failure::new(status, "ahead", error.to_string())
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = Object::new()
            .with("class", self.class)
            .with("message", self.words);
        let mut response = Answer(Object::new().with("error", error).into()).into_response();
        *response.status_mut() = self.status;
        response
    }
}

/// A value as the body of an answer.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Json);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (kind, self.0.to_string()).into_response()
    }
}

//! The body of a request, which has to come soon and be short.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use chardev_monitor::{Json, Object};

use crate::error::Failure;

/// How long a body may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Bytes.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

/// A JSON object.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Object);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let read = tokio::time::timeout(LIMIT, Bytes::from_request(request, state)).await;
        let late = |_| {
            let status = StatusCode::REQUEST_TIMEOUT;
            Failure::new(status, "late", "the body did not come in time")
        };
        let wrong = |rejected: axum::extract::rejection::BytesRejection| {
            Failure::new(rejected.status(), "bad-body", rejected.body_text())
        };
        read.map_err(late)?.map(Raw).map_err(wrong)
    }
}

impl<S: Send + Sync> FromRequest<S> for Members {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        let wrong = |why: String| Failure::bad(format!("the body is no JSON object: {why}"));
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        match Json::parse(text) {
            Ok(Json::Object(members)) => Ok(Members(members)),
            Ok(_) => Err(wrong("it is something else".to_owned())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

impl Members {
    /// The text called `name`.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Failure> {
        let text = self.0.get(name).and_then(Json::as_str);
        text.ok_or_else(|| Failure::bad(format!("'{name}' has to be text")))
    }
}

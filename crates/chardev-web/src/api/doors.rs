//! Coming in and going out, and how the whole is.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chardev_monitor::{Caller, Object, Role};

use super::body::Members;
use super::{Asked, done};
use crate::error::{Answer, Failure};
use crate::login::{Visitor, cookie_name, present};
use crate::page;
use crate::serve::Connection;
use crate::site::Site;

/// Who asks, and what is served.
#[utoipa::path(get, path = "/me", responses((status = 200, description =
    "`who`, `how` they came in, `admin`, `version`, `terminal` (whether the page has one), \
     `fleet` (whether there is one, of which one may see the consoles)"),
    (status = 401, description = "nobody is logged in")))]
pub(super) async fn me(State(site): State<Site>, Visitor(session): Visitor) -> Asked {
    let version = &site.server.version().package;
    let fleet = session
        .caller
        .clone()
        .execute("x-query-fleet", Object::new());
    let me = Object::new()
        .with("who", session.caller.who())
        .with("how", session.how)
        .with("admin", session.caller.may(Role::Admin, None))
        .with("version", version.as_str())
        .with("terminal", page::has_terminal())
        .with("fleet", fleet.await.is_ok());
    Ok(Answer(me.into()))
}

/// Comes in with the code of a one-time link, or with a token.
#[utoipa::path(post, path = "/login", request_body(content = String, content_type =
    "application/json", description = "`{\"code\": …}` or `{\"token\": …}`"), responses((status = 200, description =
    "a cookie for the session"), (status = 401, description = "it is not good, or no more")))]
pub(super) async fn login(
    State(site): State<Site>,
    Extension(connection): Extension<Connection>,
    members: Members,
) -> Result<Response, Failure> {
    let (caller, how) = match members.0.get("token") {
        Some(_) => {
            let identity = present(&site, members.text("token")?, &connection).await?;
            let peer = Some(connection.peer.to_string());
            (site.server.caller_as(identity, peer), "token")
        }
        None => (follow(&site, members.text("code")?, &connection)?, "link"),
    };
    tracing::info!(
        "web: {} came in from {}, by a {how}",
        caller.who(),
        connection.peer
    );
    let secret = site.sessions.open(caller, how);
    connection.guest.is_known();
    let name = cookie_name(&connection);
    let secure = if connection.is_tls { "; Secure" } else { "" };
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}");
    Ok(with_cookie(&cookie))
}

/// Whose link it is that `code` is of.
fn follow(site: &Site, code: &str, connection: &Connection) -> Result<Caller, Failure> {
    site.links.take(code).ok_or_else(|| {
        tracing::warn!("web: somebody at {} has no good link", connection.peer);
        let words = "this link is not good any more: 'chardevctl web' prints another";
        Failure::new(StatusCode::UNAUTHORIZED, "bad-link", words)
    })
}

/// Ends the session.
#[utoipa::path(post, path = "/logout", responses((status = 200, description = "it is over")))]
pub(super) async fn logout(
    State(site): State<Site>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    Visitor(session): Visitor,
) -> Response {
    let name = cookie_name(&connection);
    if let Some(secret) = crate::login::cookie(&headers, &name) {
        site.sessions.close(secret);
    }
    tracing::info!("web: {} has left", session.caller.who());
    with_cookie(&format!(
        "{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    ))
}

fn with_cookie(cookie: &str) -> Response {
    let mut response = done().into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Whether this process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "it does")))]
pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// Whether consoles are served.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "they are"),
    (status = 503, description = "the daemon ends")))]
pub(super) async fn ready(State(site): State<Site>) -> (StatusCode, &'static str) {
    match site.server.stop().is_requested() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
        false => (StatusCode::OK, "ok\n"),
    }
}

//! What every request has to get past, before anything is done for it.
//!
//! A foreign page cannot make a browser ask for anything here: it has no right `Origin`, its
//! requests carry no session (the cookie is `SameSite=Strict`), and it cannot set the header that
//! changes need. A name that somebody makes point here is not in the list of hosts.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::headers;
use super::sessions::Session;
use crate::error::Failure;
use crate::serve::Connection;
use crate::settings::Settings;
use crate::site::Site;

/// The header that a foreign page cannot set, and what it says.
const BY: (&str, &str) = ("x-requested-by", "chardev");

/// Somebody who is logged in, for what is only for those.
#[derive(Clone, Debug)]
pub(crate) struct Visitor(pub(crate) Arc<Session>);

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let visitor = parts.extensions.get::<Visitor>().cloned();
        visitor.ok_or_else(Failure::unknown)
    }
}

/// Lets through what may be, and puts onto every answer what browsers are to heed.
pub(crate) async fn guard(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let mut response = match check(&site, &mut request) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    headers::add(response.headers_mut());
    response
}

fn check(site: &Site, request: &mut Request) -> Result<(), Failure> {
    let connection = request.extensions().get::<Connection>().cloned();
    let connection = connection.ok_or_else(Failure::unknown)?;
    let settings = site.settings();
    let headers = request.headers();
    let host = host(headers, &settings, &connection)?;
    let is_upgrade = headers.contains_key(header::UPGRADE);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    check_origin(headers, &host, is_upgrade || changes)?;
    if changes && headers.get(BY.0).is_none_or(|value| value != BY.1) {
        let words = format!("a change needs the header '{}: {}'", BY.0, BY.1);
        return Err(Failure::forbidden(words));
    }
    let session = cookie(headers, &cookie_name(&connection));
    let session = session.and_then(|secret| site.sessions.find(secret));
    let may_ask = match &session {
        Some(session) => {
            connection.guest.is_known();
            session.may_ask()
        }
        None => site.addresses.may_ask(connection.peer.ip()),
    };
    if !may_ask {
        return Err(Failure::too_many("too many requests; wait a moment"));
    }
    if let Some(session) = session {
        request.extensions_mut().insert(Visitor(session));
    }
    Ok(())
}

/// The host that is asked for, which has to be one of ours.
fn host(
    headers: &HeaderMap,
    settings: &Settings,
    connection: &Connection,
) -> Result<String, Failure> {
    let mut all = headers.get_all(header::HOST).iter();
    let host = match (all.next().map(|host| host.to_str()), all.next()) {
        (Some(Ok(host)), None) => host.to_ascii_lowercase(),
        _ => return Err(Failure::bad("a request has one header 'Host'")),
    };
    let port = connection.local.port();
    let own = [
        connection.local.ip().to_string(),
        format!("[{}]", connection.local.ip()),
    ];
    let by_default = [
        "localhost",
        "127.0.0.1",
        "[::1]",
        settings.listen.host.as_str(),
    ];
    let names = by_default.into_iter().chain(own.iter().map(String::as_str));
    let names = names.chain(settings.hosts.iter().map(String::as_str));
    let mut names = names.map(str::to_ascii_lowercase);
    let is_ours = names.any(|name| host == name || host == format!("{name}:{port}"));
    match is_ours {
        true => Ok(host),
        false => {
            let status = StatusCode::MISDIRECTED_REQUEST;
            let words = format!(
                "this is not '{}'; if it should be, add it to 'hosts' in [web]",
                host.escape_debug()
            );
            Err(Failure::new(status, "wrong-host", words))
        }
    }
}

/// A page of another origin gets nothing; `needed` is where a browser says of which it is.
fn check_origin(headers: &HeaderMap, host: &str, needed: bool) -> Result<(), Failure> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return match needed {
            true => Err(Failure::forbidden("this needs the header 'Origin'")),
            false => Ok(()),
        };
    };
    // A proxy in front may speak TLS.
    let is_ours = ["http", "https"].iter().any(|scheme| {
        origin
            .as_bytes()
            .eq_ignore_ascii_case(format!("{scheme}://{host}").as_bytes())
    });
    match is_ours {
        true => Ok(()),
        false => Err(Failure::forbidden("another page has asked for this")),
    }
}

/// Two daemons on one host are told apart by their ports; cookies are not.
pub(crate) fn cookie_name(connection: &Connection) -> String {
    format!("chardev-{}", connection.local.port())
}

/// The value of a cookie, if it is there once.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut values = pairs.filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_there_once_is_found() {
        let found = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().expect("a header"));
            }
            cookie(&headers, "c").map(str::to_owned)
        };
        assert_eq!(found(&["a=1; c=2"]).as_deref(), Some("2"));
        assert_eq!(found(&["a=1", "c=2=3"]).as_deref(), Some("2=3"));
        for none in [&["cc=1; ac=2"][..], &["c"], &["c=1; c=2"], &[]] {
            assert_eq!(found(none), None, "{none:?}");
        }
    }
}

//! What every request has to get past, before anything is done for it.
//!
//! A foreign page cannot make a browser ask for anything here: it has no right `Origin`, its
//! requests carry no session (the cookie is `SameSite=Strict`), and it cannot set the header that
//! changes need. A name that somebody makes point here is not in the list of hosts.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use chardev_monitor::{Identity, Refused};

use super::headers;
use super::secret::hash;
use super::sessions::Session;
use crate::error::Failure;
use crate::serve::{Connection, Door, Peer};
use crate::settings::{Listen, Settings};
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
    // Such a request may have said a length as well, which whoever is in front may have gone by:
    // what comes behind it is part of it for them, and must not be a request here.
    let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = match check(&site, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    headers::add(response.headers_mut());
    if is_last {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn check(site: &Site, request: &mut Request) -> Result<(), Failure> {
    let connection = request.extensions().get::<Connection>().cloned();
    let connection = connection.ok_or_else(Failure::unknown)?;
    let settings = site.settings();
    let headers = request.headers();
    let host = host(headers, request.uri(), &settings, &connection)?;
    let is_upgrade = headers.contains_key(header::UPGRADE);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let bearer = bearer(headers);
    // A browser adds no token by itself, whatever page asks.
    check_origin(headers, &host, bearer.is_none() && (is_upgrade || changes))?;
    let is_marked = headers.get(BY.0).is_some_and(|value| value == BY.1);
    if bearer.is_none() && changes && !is_marked {
        let words = format!("a change needs the header '{}: {}'", BY.0, BY.1);
        return Err(Failure::forbidden(words));
    }
    let session = match bearer {
        Some(token) => Some(by_token(site, token, &connection).await?),
        None => known(site, headers, &settings, &connection).await?,
    };
    let may_ask = match &session {
        Some(session) => {
            connection.guest.is_known();
            session.may_ask()
        }
        None => site.addresses.may_ask(connection.peer.whence()),
    };
    if !may_ask {
        return Err(Failure::too_many("too many requests; wait a moment"));
    }
    if let Some(session) = session {
        request.extensions_mut().insert(Visitor(session));
    }
    Ok(())
}

/// Whose request it is, by what a browser or a proxy adds to it.
async fn known(
    site: &Site,
    headers: &HeaderMap,
    settings: &Settings,
    connection: &Connection,
) -> Result<Option<Arc<Session>>, Failure> {
    let tokens = site.server.access().tokens();
    if let Some(user) = by_proxy(headers, settings, connection)? {
        let uid = site.users.find(user, &site.blocking).await?;
        let uid = uid.ok_or_else(|| {
            Failure::forbidden(format!("'{}' is no user of this host", user.escape_debug()))
        })?;
        let begin = || {
            let peer = format!("{user}, by the proxy at {}", connection.peer.whence());
            site.server.caller_as(Identity::User(uid), Some(peer))
        };
        return Ok(Some(site.sessions.standing("proxy", user, tokens, begin)));
    }
    let secret = cookie(headers, &cookie_name(connection));
    let session = secret.and_then(|secret| site.sessions.find(secret, tokens));
    let (None, Some(Identity::Tls(name))) = (&session, &connection.identity) else {
        return Ok(session);
    };
    let names = [std::slice::from_ref(&name.subject), &name.alternatives].concat();
    let begin = || {
        let peer = Some(connection.peer.to_string());
        site.server.caller_as(Identity::Tls(Arc::clone(name)), peer)
    };
    let names = names.join("\0");
    Ok(Some(site.sessions.standing("tls", &names, tokens, begin)))
}

/// Whom a proxy names; nobody else may name anybody.
fn by_proxy<'a>(
    headers: &'a HeaderMap,
    settings: &Settings,
    connection: &Connection,
) -> Result<Option<&'a str>, Failure> {
    let Some(proxy) = &settings.proxy else {
        return Ok(None);
    };
    let mut named = headers.get_all(&proxy.header).iter();
    let (name, more) = (named.next(), named.next());
    let is_proxy = match connection.peer {
        Peer::Inet(address) => proxy.from.contains(&address.ip().to_canonical()),
        // The path lets nobody else connect.
        Peer::Unix(uid) => proxy
            .users
            .as_ref()
            .is_none_or(|users| users.contains(&uid)),
    };
    match (name.map(|name| name.to_str()), more) {
        (None, _) => Ok(None),
        (Some(Ok(name)), None) if is_proxy => Ok(Some(name)),
        _ if is_proxy => Err(Failure::bad(format!("'{}' names one user", proxy.header))),
        _ => {
            let words = format!("'{}' is for the proxy to say", proxy.header);
            tracing::warn!(
                "web: {} has said who it is in '{}'",
                connection.peer,
                proxy.header
            );
            Err(Failure::forbidden(words))
        }
    }
}

/// The token in a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let said = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = said.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session of whoever presents `token` with every request.
async fn by_token(
    site: &Site,
    token: &str,
    connection: &Connection,
) -> Result<Arc<Session>, Failure> {
    let tokens = site.server.access().tokens();
    let identity = present(site, token, connection).await?;
    let begin = || {
        site.server
            .caller_as(identity, Some(connection.peer.to_string()))
    };
    Ok(site.sessions.standing("bearer", token, tokens, begin))
}

/// Who presents `token`.
///
/// # Errors
/// It is not good, or too many were not.
pub(crate) async fn present(
    site: &Site,
    token: &str,
    connection: &Connection,
) -> Result<Identity, Failure> {
    let origin = connection.peer.origin();
    let checked = site.server.access().tokens().check(token, &origin);
    if let Err(refused) = &checked {
        tokio::time::sleep(refused.pause()).await;
    }
    checked.map_err(|refused| match refused {
        Refused::TooMany(_) => Failure::too_many(refused.to_string()),
        _ => Failure::new(StatusCode::UNAUTHORIZED, "bad-token", refused.to_string()),
    })
}

/// The host that is asked for, which has to be one of ours.
fn host(
    headers: &HeaderMap,
    target: &Uri,
    settings: &Settings,
    connection: &Connection,
) -> Result<String, Failure> {
    let mut all = headers.get_all(header::HOST).iter();
    let host = match (all.next().map(|host| host.to_str()), all.next()) {
        (Some(Ok(host)), None) => host.to_ascii_lowercase(),
        _ => return Err(Failure::bad("a request has one header 'Host'")),
    };
    let named = target.authority().map(|named| named.as_str());
    if named.is_some_and(|named| !named.eq_ignore_ascii_case(&host)) {
        let words = "the target and the header 'Host' name two hosts";
        return Err(Failure::bad(words));
    }
    let (port, ip) = (connection.door.port(), connection.door.ip());
    let own = ip.map_or(Vec::new(), |ip| vec![ip.to_string(), format!("[{ip}]")]);
    let listen = match &settings.listen {
        Listen::Inet { host, .. } => Some(host.as_str()),
        Listen::Unix(_) => None,
    };
    let by_default = ["localhost", "127.0.0.1", "[::1]"]
        .into_iter()
        .chain(listen);
    let names = by_default.chain(own.iter().map(String::as_str));
    let names = names.chain(settings.hosts.iter().map(String::as_str));
    let mut names = names.map(str::to_ascii_lowercase);
    let is_ours =
        names.any(|name| host == name || port.is_some_and(|port| host == format!("{name}:{port}")));
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
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let mode = headers.get("sec-fetch-mode").map(|mode| mode.as_bytes());
    // A link on a foreign page may lead here, and nothing else of it may ask.
    if matches!(site, Some(b"cross-site" | b"same-site")) && mode != Some(b"navigate") {
        return Err(Failure::forbidden("another page has asked for this"));
    }
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

/// Two daemons on one host are told apart by their ports, or paths; cookies are not.
pub(crate) fn cookie_name(connection: &Connection) -> String {
    match &connection.door {
        Door::Inet(address) => format!("chardev-{}", address.port()),
        Door::Unix(path) => {
            let number = hash(path).into_iter().take(6);
            let digits: String = number.map(|byte| format!("{byte:02x}")).collect();
            format!("chardev-{digits}")
        }
    }
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

//! What is done to a console by those who may type there.

use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chardev_monitor::{Command, Json, Object};
use chardev_qmp::Join;

use super::Asked;
use super::body::{Members, Raw};
use crate::error::{Answer, Failure};
use crate::login::{Session, Visitor};
use crate::site::Site;

/// Types.
#[utoipa::path(post, path = "/consoles/{id}/input", params(("id" = String, Path, description =
    "the console")), request_body(content = String, content_type = "application/octet-stream",
    description = "the bytes, up to 64 KiB"), responses((status = 200, description =
    "`queued` says how many of them were taken, `offset` where the output was then")))]
pub(super) async fn input(
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Raw(bytes): Raw,
) -> Asked {
    let arguments = Object::new()
        .with("id", id)
        .with("data", STANDARD.encode(&bytes))
        .with("format", "base64");
    run(&session, "x-chardev-send", arguments).await
}

/// Sends a break.
#[utoipa::path(post, path = "/consoles/{id}/break", params(("id" = String, Path, description =
    "the console")), responses((status = 200, description = "it was sent")))]
pub(super) async fn send_break(Visitor(session): Visitor, Path(id): Path<String>) -> Asked {
    run(&session, "chardev-send-break", Object::new().with("id", id)).await
}

/// Says how large the terminal is.
#[utoipa::path(post, path = "/consoles/{id}/size", params(("id" = String, Path, description =
    "the console")), request_body(content = String, content_type = "application/json", description =
    "`{\"cols\": …, \"rows\": …}`"), responses((status = 200, description = "it was said")))]
pub(super) async fn size(
    Visitor(session): Visitor,
    Path(id): Path<String>,
    members: Members,
) -> Asked {
    let arguments = with_id(members, id)?;
    run(&session, "x-chardev-set-winsize", arguments).await
}

/// Sets a marker in the output.
#[utoipa::path(post, path = "/consoles/{id}/mark", params(("id" = String, Path, description =
    "the console")), request_body(content = String, content_type = "application/json", description =
    "`{\"text\": …}`"), responses((status = 200, description = "`offset` says where it is, `indexed` \
    whether the index of the log, if there is one, has room for it")))]
pub(super) async fn mark(
    Visitor(session): Visitor,
    Path(id): Path<String>,
    members: Members,
) -> Asked {
    let arguments = with_id(members, id)?;
    run(&session, "x-chardev-mark", arguments).await
}

/// Has the console alone among those who type: the others are attached no more, and told by whom.
#[utoipa::path(post, path = "/consoles/{id}/takeover", params(("id" = String, Path, description =
    "the console")), responses((status = 200, description =
    "`displaced` says how many those were")))]
pub(super) async fn takeover(
    State(site): State<Site>,
    Visitor(session): Visitor,
    Path(id): Path<String>,
) -> Asked {
    let caller = &session.caller;
    caller.check(&Command::XChardevAttach {
        id: id.clone(),
        fdname: String::new(),
        join: Join::Force,
    })?;
    if !site.server.chardevs().contains(&id) {
        return Err(Failure::not_found(&id));
    }
    let displaced = caller.take_over(&id).await?;
    site.announce();
    Ok(Answer(
        Object::new().with("displaced", displaced as u64).into(),
    ))
}

/// The arguments of a command about the chardev of the path.
pub(super) fn with_id(Members(members): Members, id: String) -> Result<Object, Failure> {
    if members.get("id").is_some() {
        return Err(Failure::bad("'id' is in the path"));
    }
    let mut arguments = Object::new().with("id", id);
    for (name, value) in members.iter() {
        arguments.insert(name.to_owned(), Json::clone(value));
    }
    Ok(arguments)
}

pub(super) async fn run(session: &Session, name: &str, arguments: Object) -> Asked {
    let answer = session.caller.clone().execute(name, arguments).await?;
    Ok(Answer(answer))
}

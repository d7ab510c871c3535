//! What is done to a console by those who may change it.

use axum::extract::{Path, State};
use chardev::spec::{KindSpec, OptionSpec, OptionType};
use chardev_monitor::{Json, Object};

use super::Asked;
use super::body::Members;
use super::typing::{run, with_id};
use crate::error::Answer;
use crate::login::Visitor;
use crate::site::Site;

/// Gives it another back end.
#[utoipa::path(post, path = "/consoles/{id}/change", params(("id" = String, Path, description =
    "the console")), request_body(content = String, content_type = "application/json", description =
    "a ChardevBackend: `{\"type\": …, \"data\": {…}}`"), responses((status = 200, description =
    "`pty`, where it has one"), (status = 409, description = "it is busy, or what it wants is")))]
pub(super) async fn change(
    Visitor(session): Visitor,
    Path(id): Path<String>,
    Members(backend): Members,
) -> Asked {
    let arguments = Object::new().with("id", id).with("backend", backend);
    run(&session, "chardev-change", arguments).await
}

/// Says what becomes of its output.
#[utoipa::path(post, path = "/consoles/{id}/policy", params(("id" = String, Path, description =
    "the console")), request_body(content = String, content_type = "application/json", description =
    "what `x-chardev-set` takes"), responses((status = 200, description = "it counts from here on")))]
pub(super) async fn policy(
    Visitor(session): Visitor,
    Path(id): Path<String>,
    members: Members,
) -> Asked {
    let arguments = with_id(members, id)?;
    run(&session, "x-chardev-set", arguments).await
}

/// The kinds of back end and their options.
#[utoipa::path(get, path = "/schema/backends", responses((status = 200, description =
    "a list of kinds: `name`, `summary`, `options` (`name`, `type`, `required`, `help`, `values`, \
     `policy`)")))]
pub(super) async fn schema(State(site): State<Site>, Visitor(_): Visitor) -> Asked {
    let kinds = site.server.chardevs().kinds();
    let kinds = kinds.iter().map(|kind| Json::from(kind_of(kind)));
    Ok(Answer(kinds.collect::<Vec<_>>().into()))
}

fn kind_of(kind: &KindSpec) -> Object {
    let options = kind
        .all_options()
        .map(|option| Json::from(option_of(option)));
    Object::new()
        .with("name", kind.name)
        .with("summary", kind.summary)
        .with("options", options.collect::<Vec<_>>())
}

fn option_of(option: &OptionSpec) -> Object {
    let ty = match option.ty {
        OptionType::Bool => "bool",
        OptionType::Int => "int",
        OptionType::Size => "size",
        OptionType::Str => "str",
        OptionType::Enum(_) => "enum",
        OptionType::Address => "address",
        OptionType::StrList => "list",
    };
    let mut described = Object::new()
        .with("name", option.name)
        .with("type", ty)
        .with("required", option.required)
        .with("help", option.help)
        .with("policy", option.policy.is_some());
    if let OptionType::Enum(words) = option.ty {
        let words: Vec<Json> = words.iter().map(|word| Json::from(*word)).collect();
        described.insert("values", words);
    }
    described
}

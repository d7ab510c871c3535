//! Who a client is (`x-authenticate`).

use chardev_qapi::schema::{Type, optional, required};
use chardev_qapi::{Json, Object};

use crate::access::Identity;
use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};

/// What a stranger may ask for before anything else.
pub(crate) const NAME: &str = "x-authenticate";

/// The command `x-authenticate`.
pub(super) fn command() -> OwnCommand {
    OwnCommand::waiting(NAME, authenticate)
        .open_to_strangers()
        .takes([required("token", Type::Str)])
        .returns(Type::object([
            required("name", Type::Str),
            required("role", Type::words(&["view", "attach", "change", "admin"])),
            optional("consoles", Type::list(Type::Str)),
            optional("expires", Type::Int),
        ]))
}

/// From here on the client is who has the token, and nobody else that it was before.
async fn authenticate(arguments: Object, caller: Caller) -> Answer {
    let presented = arguments.get("token").and_then(Json::as_str);
    let (client, service) = (&caller.client, &caller.service);
    let tokens = service.access.tokens();
    let checked = tokens.check(presented.unwrap_or_default(), &client.origin());
    let identity = match checked {
        Ok(identity) => identity,
        Err(refused) => {
            tokio::time::sleep(refused.pause()).await;
            return Err(format!("Token not accepted: {refused}").into());
        }
    };
    let Identity::Token(token) = identity else {
        return Err("Permission denied".into());
    };
    let mut answer = Object::new()
        .with("name", token.name.as_str())
        .with("role", token.role.name());
    if let Some(consoles) = &token.consoles {
        let names = consoles.iter().map(|name| Json::from(name.as_str()));
        answer.insert("consoles", names.collect::<Vec<_>>());
    }
    if let Some(expires) = token.expires {
        answer.insert("expires", expires);
    }
    client.set_identity(Identity::Token(token));
    tracing::info!(
        target: "chardevd::audit",
        event = "authenticated",
        "{}: authenticated",
        client.title()
    );
    Ok(answer.into())
}

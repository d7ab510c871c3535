//! Markers in a console's output (`x-chardev-mark`).

use chardev::Marked;
use chardev_qapi::schema::{Type, optional, required};
use chardev_qapi::{Json, Object};

use super::not_found;
use crate::access::Role;
use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};
use crate::stats::with_epoch;

/// The longest text of a marker, in bytes.
const LONGEST: usize = 4096;

/// The command `x-chardev-mark`.
pub(super) fn command() -> OwnCommand {
    OwnCommand::new("x-chardev-mark", mark)
        .open_to(Role::Attach, "id")
        .takes([required("id", Type::Str), required("text", Type::Str)])
        .returns(Type::object([
            optional("epoch", Type::Str),
            required("offset", Type::Int),
            optional("indexed", Type::Bool),
        ]))
}

/// Tells everybody who hears of the chardev that something is worth finding at this place of its
/// output.
fn mark(arguments: &Object, caller: &Caller) -> Answer {
    let text = |name| arguments.get(name).and_then(Json::as_str);
    let (id, words) = (
        text("id").unwrap_or_default(),
        text("text").unwrap_or_default(),
    );
    if words.len() > LONGEST {
        return Err(format!("Parameter 'text' expects up to {LONGEST} bytes").into());
    }
    let by = caller.who();
    let marked = caller.chardevs().mark(id, words, &by);
    let Marked {
        epoch,
        offset,
        is_indexed,
    } = marked.ok_or_else(|| not_found(id))?;
    tracing::info!(
        console = id,
        event = "marker",
        "chardev '{id}': marker at offset {offset} by {by}: {words}"
    );
    let data = with_epoch(Object::new().with("id", id), epoch)
        .with("offset", offset)
        .with("by", by)
        .with("text", words);
    caller
        .events()
        .emit_about(id, "X_CHARDEV_MARKED", Some(data.into()));
    let mut answer = with_epoch(Object::new(), epoch).with("offset", offset);
    if let Some(is_indexed) = is_indexed {
        answer = answer.with("indexed", is_indexed);
    }
    Ok(answer.into())
}

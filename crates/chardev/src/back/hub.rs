//! front → chardev → [back] → chardevs → host: hub, one front end on several chardevs.

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, ParameterError};
use chardev_core::{AttachError, Hub};

use super::{Kind, OpenContext, Opening};
use crate::notify::Notifier;

/// QEMU's words where there is no member.
const NO_MEMBERS: &str = "hub: 'chardevs' list is not defined";

/// The kind `hub` (QAPI `ChardevHub`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "hub",
        "connects one front end to several chardevs",
        &[OptionSpec::new(
            "chardevs",
            OptionType::StrList,
            "the members: chardevs.0=…, chardevs.1=… and so on",
        )
        .required_or(NO_MEMBERS)],
    ),
    open,
};

fn open<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async move {
        let members = options.list("chardevs");
        if members.is_empty() {
            return Err(ParameterError::missing("chardevs")
                .shown_as(NO_MEMBERS)
                .into());
        }
        let mut links = Vec::with_capacity(members.len());
        for (at, id) in members.iter().enumerate() {
            if members[..at].contains(id) {
                return Err(AttachError::InUse(id.clone()).into());
            }
            let missing = format!("hub: chardev can't be found by id '{id}'");
            links.push(context.scene.link(id, missing)?);
        }
        let (notifier, waker) = Notifier::new();
        let hub = Hub::new(links, waker);
        if let Some(below) = context.scene.find(&members[0]) {
            context.port.live_with(&below);
        }
        notifier.serve(&context.port, &hub.users());
        Ok(hub.backend())
    })
}

//! front ends → chardev → [back] → chardev → host: mux, several front ends on one chardev.

use std::sync::Arc;

use chardev_core::Mux;
use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, ParameterError};

use super::{Kind, OpenContext, Opening};
use crate::notify::Notifier;

/// QEMU's words where there is no base.
const NO_BASE: &str = "chardev: mux: no chardev given";

/// The kind `mux` (QAPI `ChardevMux`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "mux",
        "shares one chardev among several front ends, one of which has the focus",
        &[OptionSpec::new("chardev", OptionType::Str, "the chardev below").required_or(NO_BASE)],
    ),
    open,
};

fn open<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async move {
        let below = options
            .str("chardev")
            .ok_or_else(|| ParameterError::missing("chardev").shown_as(NO_BASE))?;
        let missing = format!("mux: base chardev {below} not found");
        let link = context.scene.link(below, missing)?;
        let shared = &context.scene.shared;
        let (notifier, waker) = Notifier::new();
        let mux = Mux::new(link, shared.escape(), Arc::clone(shared) as _, waker);
        if let Some(below) = context.scene.find(below) {
            context.port.live_with(&below);
        }
        notifier.serve(&context.port, mux.users());
        Ok(mux.slot())
    })
}

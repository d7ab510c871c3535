//! Kinds of sockets whose peers speak the toy protocol.

use std::sync::LazyLock;
use std::time::Duration;

use chardev::back::{KINDS, Kind, LayerKind, OpenContext, Opening, open_layered};
use chardev::spec::{KindSpec, Options};

use super::escape::Escape;

/// A socket whose peers speak the toy protocol.
pub(crate) static ESCAPED: LazyLock<Kind> = LazyLock::new(|| kind("escaped", open_escaped));

/// As [`ESCAPED`], but it cannot take over that one's peers, and gives up soon on one that says
/// nothing.
pub(crate) static HASTY: LazyLock<Kind> = LazyLock::new(|| kind("hasty", open_hasty));

fn open_escaped<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    let layers = speaking("escape");
    open_layered(options, context, (layers, Duration::from_secs(20)))
}

fn open_hasty<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    let layers = speaking("escape in haste");
    open_layered(options, context, (layers, Duration::from_millis(50)))
}

fn speaking(name: &str) -> Vec<LayerKind> {
    vec![LayerKind::new(name, || Box::new(Escape::default()))]
}

fn kind(name: &'static str, open: for<'a> fn(&'a Options, &'a OpenContext) -> Opening<'a>) -> Kind {
    let socket = KINDS.iter().find(|kind| kind.spec.name == "socket");
    let options = socket.unwrap().spec.options;
    Kind {
        spec: KindSpec::new(name, "a socket that speaks a toy protocol", options),
        open,
    }
}

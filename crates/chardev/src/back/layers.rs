//! front → chardev → [back] → host: what a peer is spoken to in, above plain bytes.
//!
//! A layer is a file below this one, with its [`LayerSpec`], and a line in [`LAYERS`]; one that not
//! every program needs is a feature, and its options are in `options.rs`.

#[cfg(any(
    test,
    not(all(feature = "telnet", feature = "tls", feature = "websocket"))
))]
mod absent;
mod options;
#[cfg(feature = "telnet")]
mod rfc2217;
#[cfg(test)]
mod talk;
#[cfg(feature = "telnet")]
mod telnet;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "telnet")]
mod tn3270;
#[cfg(feature = "websocket")]
mod websocket;

use std::sync::Arc;

use chardev_core::spec::{OptionSpec, Options};
use chardev_core::{Layer, OpenError};

use super::OpenContext;

/// The same of RFC 2217, on either side.
#[cfg(feature = "telnet")]
#[doc(hidden)]
pub use rfc2217::{client as rfc2217_client, wanted as rfc2217};
/// What `options` of a socket want of telnet: for tests of the protocol alone.
#[cfg(feature = "telnet")]
#[doc(hidden)]
pub use telnet::wanted as telnet;
/// The same of TLS.
#[cfg(feature = "tls")]
#[doc(hidden)]
pub use tls::wanted as tls;
/// The same of websocket.
#[cfg(feature = "websocket")]
#[doc(hidden)]
pub use websocket::wanted as websocket;

/// What a layer is called for by, and how it is made.
pub(crate) struct LayerSpec {
    /// The options of a socket that are about it.
    pub(crate) options: &'static [OptionSpec],
    /// The layer that the options ask for, if they do.
    pub(crate) wanted: fn(&Options, &OpenContext) -> Result<Option<LayerKind>, OpenError>,
}

/// A kind of layer, of which each connection gets its own.
#[derive(Clone)]
pub struct LayerKind {
    name: String,
    scheme: Option<&'static str>,
    make: Arc<dyn Fn() -> Box<dyn Layer> + Send + Sync>,
}

impl LayerKind {
    /// Layers that `make` makes. Two kinds with the same `name`, which holds all that is set up in
    /// them, can take over each other's connections.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn() -> Box<dyn Layer> + Send + Sync + 'static,
    ) -> Self {
        LayerKind {
            name: name.into(),
            scheme: None,
            make: Arc::new(make),
        }
    }

    /// With addresses of TCP that begin with `scheme`.
    pub(crate) fn shown_as(self, scheme: &'static str) -> Self {
        LayerKind {
            scheme: Some(scheme),
            ..self
        }
    }

    pub(crate) fn scheme(&self) -> Option<&'static str> {
        self.scheme
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// One for a new connection.
    pub fn make(&self) -> Box<dyn Layer> {
        (self.make)()
    }
}

impl std::fmt::Debug for LayerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LayerKind").field(&self.name).finish()
    }
}

/// All layers, the one next to the chardev first.
pub(crate) const LAYERS: &[LayerSpec] = &[
    #[cfg(feature = "telnet")]
    telnet::SPEC,
    #[cfg(not(feature = "telnet"))]
    absent::TELNET,
    #[cfg(feature = "telnet")]
    rfc2217::SPEC,
    #[cfg(not(feature = "telnet"))]
    absent::RFC2217,
    #[cfg(feature = "websocket")]
    websocket::SPEC,
    #[cfg(not(feature = "websocket"))]
    absent::WEBSOCKET,
    #[cfg(feature = "tls")]
    tls::SPEC,
    #[cfg(not(feature = "tls"))]
    absent::TLS,
];

/// The layers that `options` ask for, the one next to the chardev first.
///
/// # Errors
/// What a layer needs is missing.
pub(crate) fn wanted(
    options: &Options,
    context: &OpenContext,
) -> Result<Vec<LayerKind>, OpenError> {
    let mut kinds = Vec::new();
    for layer in LAYERS {
        kinds.extend((layer.wanted)(options, context)?);
    }
    Ok(kinds)
}

/// How many options [`with_layers`] makes of `before` and `after`.
pub(crate) const fn count_with_layers(before: &[OptionSpec], after: &[OptionSpec]) -> usize {
    let mut count = before.len() + after.len();
    let mut layer = 0;
    while layer < LAYERS.len() {
        count += LAYERS[layer].options.len();
        layer += 1;
    }
    count
}

/// The options of all layers between those in `before` and `after`.
pub(crate) const fn with_layers<const N: usize>(
    before: &[OptionSpec],
    after: &[OptionSpec],
) -> [OptionSpec; N] {
    let (mut all, mut end) = join([before[0]; N], 0, before);
    let mut layer = 0;
    while layer < LAYERS.len() {
        (all, end) = join(all, end, LAYERS[layer].options);
        layer += 1;
    }
    join(all, end, after).0
}

/// Puts `part` into `all` from `end` on.
const fn join<const N: usize>(
    mut all: [OptionSpec; N],
    end: usize,
    part: &[OptionSpec],
) -> ([OptionSpec; N], usize) {
    let mut at = 0;
    while at < part.len() {
        all[end + at] = part[at];
        at += 1;
    }
    (all, end + at)
}

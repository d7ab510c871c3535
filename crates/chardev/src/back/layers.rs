//! front → chardev → [back] → host: what a peer is spoken to in, above plain bytes.

use std::sync::Arc;

use chardev_core::Layer;

/// A kind of layer, of which each connection gets its own.
#[derive(Clone)]
pub struct LayerKind {
    name: String,
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
            make: Arc::new(make),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn make(&self) -> Box<dyn Layer> {
        (self.make)()
    }
}

impl std::fmt::Debug for LayerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LayerKind").field(&self.name).finish()
    }
}

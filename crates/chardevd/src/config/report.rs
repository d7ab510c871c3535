//! What a reload has done.

use chardev_qapi::schema::{Type, required};
use chardev_qapi::{Json, Object};

/// Names, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// They are there now and were not.
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) unchanged: Vec<String>,
    /// With the reason of each.
    pub(crate) failed: Vec<(String, String)>,
}

impl Report {
    /// The answer of `x-reload`.
    pub(crate) fn json(&self) -> Json {
        let names = |names: &[String]| {
            let names = names.iter().map(|name| Json::from(name.as_str()));
            names.collect::<Vec<_>>()
        };
        let failed = self.failed.iter().map(|(name, reason)| {
            let failed = Object::new().with("name", name.as_str());
            failed.with("reason", reason.as_str())
        });
        Object::new()
            .with("added", names(&self.added))
            .with("changed", names(&self.changed))
            .with("removed", names(&self.removed))
            .with("unchanged", names(&self.unchanged))
            .with("failed", failed.collect::<Vec<_>>())
            .into()
    }

    /// The type of that.
    pub(crate) fn schema() -> Type {
        let failed = Type::object([required("name", Type::Str), required("reason", Type::Str)]);
        Type::object([
            required("added", Type::list(Type::Str)),
            required("changed", Type::list(Type::Str)),
            required("removed", Type::list(Type::Str)),
            required("unchanged", Type::list(Type::Str)),
            required("failed", Type::list(failed)),
        ])
    }

    /// A line for the log.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} added, {} changed, {} removed, {} unchanged, {} failed",
            self.added.len(),
            self.changed.len(),
            self.removed.len(),
            self.unchanged.len(),
            self.failed.len()
        )
    }
}

//! `cargo xtask model`: the model of the core's threads, which is another build of the core.

use crate::sh::{self, Result};

pub(crate) fn run() -> Result {
    // A folder of its own, so that the flag does not make everything else be built again.
    let folder = sh::target_dir()?.join("model");
    sh::run(
        sh::cargo(&["test", "--package", "chardev-core", "--test", "model"])
            .env("RUSTFLAGS", "--cfg chardev_model")
            .env("CARGO_TARGET_DIR", folder),
    )
}

//! The QEMU to compare with: 10.0, which `./setup` fetches with the libraries it needs, or where
//! that is missing the installed one.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::server;
use crate::sh::{self, Result};

/// How QEMU is started.
pub(super) struct Qemu {
    program: OsString,
    first: Vec<OsString>,
    /// Where its firmware is, if it does not know by itself.
    firmware: Vec<OsString>,
}

impl Qemu {
    pub(super) fn find() -> Result<Self> {
        let files = sh::root().join("target/linux");
        let tree = files.join("qemu11/usr");
        let is_there = |name| files.join(name).join(".complete").exists();
        if !is_there("qemu10") || !is_there("qemu11") {
            return Ok(Qemu {
                program: server::qemu()?.into(),
                first: Vec::new(),
                firmware: Vec::new(),
            });
        }
        // The system's loader and libraries are older.
        Ok(Qemu {
            program: tree.join("lib64/ld-linux-x86-64.so.2").into(),
            first: vec![
                "--library-path".into(),
                tree.join("lib/x86_64-linux-gnu").into(),
                files.join("qemu10/usr/bin/qemu-system-x86_64").into(),
            ],
            firmware: ["qemu", "seabios"].map(|name| firmware(&tree, name)).into(),
        })
    }

    /// A QEMU without devices but those of its machine, to be told which that is.
    pub(super) fn command(&self) -> Command {
        let mut command = self.bare();
        for folder in &self.firmware {
            command.arg("-L").arg(folder);
        }
        command.args(["-nodefaults", "-display", "none"]);
        command
    }

    /// The same without any argument.
    pub(super) fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first);
        command
    }
}

fn firmware(tree: &Path, name: &str) -> OsString {
    tree.join("share").join(name).into()
}

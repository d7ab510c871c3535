//! A daemon with many relays, each from a Unix socket to another, and their peers.

use std::os::unix::net::UnixStream;
use std::process::Command;

use tempfile::TempDir;

use crate::server::Server;
use crate::sh::Result;

pub(super) struct Relays {
    pub(super) server: Server,
    /// Who sends, and who receives.
    pub(super) inputs: Vec<UnixStream>,
    pub(super) outputs: Vec<UnixStream>,
    _dir: TempDir,
}

impl Relays {
    /// Starts `command`, a daemon, with so many.
    pub(super) fn start(mut command: Command, count: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let place = |end: &str, number: usize| dir.path().join(format!("{end}{number}"));
        for number in 0..count {
            for end in ["a", "b"] {
                let path = place(end, number);
                let hold = "server=on,wait=off,x-closed=hold";
                let line = format!("socket,id={end}{number},path={},{hold}", path.display());
                command.arg("--chardev").arg(line);
            }
            let line = format!("null-modem,chardev=a{number},peer=b{number}");
            command.arg("--device").arg(line);
        }
        let mut server = Server::start(command, &[])?;
        let mut peers = |end| -> Result<Vec<UnixStream>> {
            let connect = |number| {
                let path = place(end, number);
                server.wait_for("it took a connection", || UnixStream::connect(&path).ok())
            };
            (0..count).map(connect).collect()
        };
        let (inputs, outputs) = (peers("a")?, peers("b")?);
        Ok(Relays {
            server,
            inputs,
            outputs,
            _dir: dir,
        })
    }
}

//! A tour of one chardev through back ends of all kinds, with every byte kept in order.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use chardev_load::lines::{Form, text};
use chardev_qapi::Json;
use chardev_qmp::client::Client;

use super::collect;
use crate::daemon_rig::{DEADLINE, change};

/// What one back end got.
enum Piece {
    File(PathBuf),
    Stream(JoinHandle<Vec<u8>>),
}

/// One chardev on its tour.
pub(crate) struct Tour {
    id: String,
    dir: PathBuf,
    client: Client<UnixStream>,
    pieces: Vec<Piece>,
    changes: usize,
    sent: u64,
}

impl Tour {
    pub(crate) fn new(id: &str, dir: &Path, client: Client<UnixStream>) -> Self {
        Tour {
            id: id.to_owned(),
            dir: dir.to_owned(),
            client,
            pieces: Vec::new(),
            changes: 0,
            sent: 0,
        }
    }

    /// Goes on to the next kind, and has `lines` lines typed to the guest where it takes input.
    pub(crate) fn step(&mut self, lines: u64) {
        match self.changes % 5 {
            0 => self.unix(lines),
            1 => self.file(),
            2 => self.tcp(lines),
            3 => self.pty(lines),
            // What it holds unread goes on to the next one.
            _ => drop(self.change(r#"{"type":"ringbuf","data":{"size":4194304}}"#)),
        }
    }

    /// Ends the guest's reader: the last line typed.
    pub(crate) fn type_end(&mut self) {
        self.unix(0);
        self.changes -= 1;
    }

    /// Leaves the last back end and returns all output since the beginning.
    pub(crate) fn finish(mut self) -> (Vec<u8>, u64) {
        self.change(r#"{"type":"null","data":{}}"#);
        let mut all = Vec::new();
        for piece in self.pieces {
            match piece {
                Piece::File(path) => all.extend(std::fs::read(path).unwrap()),
                Piece::Stream(thread) => all.extend(thread.join().unwrap()),
            }
        }
        (all, self.sent)
    }

    fn change(&mut self, backend: &str) -> Json {
        self.changes += 1;
        change(&mut self.client, &self.id, backend)
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}-{kind}{}", self.id, self.changes))
    }

    fn file(&mut self) {
        let path = self.path("file");
        let shown = path.display();
        self.change(&format!(r#"{{"type":"file","data":{{"out":"{shown}"}}}}"#));
        self.pieces.push(Piece::File(path));
    }

    fn unix(&mut self, lines: u64) {
        let path = self.path("unix");
        let listener = UnixListener::bind(&path).unwrap();
        let shown = path.display();
        let backend = format!(
            r#"{{"type":"socket","data":{{"server":false,"addr":{{"type":"unix","data":{{"path":"{shown}"}}}}}}}}"#
        );
        self.change(&backend);
        let (stream, _) = listener.accept().unwrap();
        std::fs::remove_file(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        self.pieces
            .push(Piece::Stream(collect(stream.try_clone().unwrap())));
        self.type_lines(stream, lines);
    }

    fn tcp(&mut self, lines: u64) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let backend = format!(
            r#"{{"type":"socket","data":{{"server":false,"addr":{{"type":"inet","data":{{"host":"127.0.0.1","port":"{port}"}}}}}}}}"#
        );
        self.change(&backend);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        self.pieces
            .push(Piece::Stream(collect(stream.try_clone().unwrap())));
        self.type_lines(stream, lines);
    }

    fn pty(&mut self, lines: u64) {
        let answer = self.change(r#"{"type":"pty","data":{}}"#);
        let path = answer.get("pty").and_then(Json::as_str).unwrap().to_owned();
        let slave = terminal(&path);
        self.pieces
            .push(Piece::Stream(collect(slave.try_clone().unwrap())));
        self.type_lines(slave, lines);
    }

    fn type_lines(&mut self, mut peer: impl Write, lines: u64) {
        let mut typed = text(Form::Padded, self.sent..self.sent + lines);
        self.sent += lines;
        if lines == 0 {
            typed.extend_from_slice(b"END\n");
        }
        peer.write_all(&typed).unwrap();
    }
}

/// Opens a terminal without becoming its session.
pub(crate) fn terminal(path: &str) -> File {
    let mut options = OpenOptions::new();
    let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
    let file = options
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path);
    file.unwrap()
}

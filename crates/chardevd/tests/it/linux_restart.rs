//! A real Linux with its virtio console over vhost-user, in Debian's own QEMU, while the device
//! process ends, is killed and starts again under it.
//!
//! QEMU's generic vhost-user device does not survive that (11.1: an assertion of its own), so here
//! the carrier is `vhost-user-blk`, which does, see `tests/guest/build`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::daemon_rig::{Daemon, until};
use crate::linux_rig::{Guest, assert_same, lines};
use chardev_load::lines::{Form, text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

/// Restarts in one test.
const ROUNDS: usize = 3;
/// What a process that is killed may have sent of what its successor sends again: one batch.
const BATCH: usize = 1 << 20;
const MILLISECOND: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// The FIFOs of a console and a channel, which outlive every process.
struct Bed {
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for id in ["con0", "dat0"] {
            for side in ["in", "out"] {
                let path = dir.path().join(format!("{id}.{side}"));
                rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
            }
        }
        Bed { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn daemon(&self) -> Daemon {
        let pipe = |id: &str| format!("pipe,id={id},path={}", self.path(id).display());
        let vhost = self.path("vhost");
        let console = format!(
            "vhost-user-console,id=v0,chardev=con0,max-ports=3,socket={}",
            vhost.display()
        );
        let channel = "virtserialport,bus=v0,chardev=dat0,name=org.test.0";
        let (con0, dat0) = (pipe("con0"), pipe("dat0"));
        let chardevs = ["-chardev", &con0, "-chardev", &dat0];
        Daemon::start(&[&chardevs[..], &["-device", &console, "-device", channel]].concat())
    }

    fn boot(&self) -> Guest {
        let socket = self.path("vhost");
        let chardev = format!("socket,id=vhost,path={},reconnect=1", socket.display());
        let device = "vhost-user-blk-pci,num-queues=8,chardev=vhost";
        let arguments = ["-chardev", &chardev, "-device", device];
        let mut guest = Guest::boot_with_blk(self.dir.path(), &arguments);
        let ports = "(: <>/dev/hvc0) 2>/dev/null && test -e /dev/vport0p1";
        until("the ports", || guest.try_run(ports).1 == "0");
        // A terminal forgets its settings with its last user.
        guest.run("exec 3<>/dev/hvc0; stty -F /dev/hvc0 raw -echo");
        guest
    }
}

/// The peer of one port: reads what the guest writes, and types numbered lines.
struct Peer {
    typing: PathBuf,
    got: Arc<Mutex<(File, Vec<u8>)>>,
    reader: Option<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    /// Where one process ended and the next began.
    seams: Vec<usize>,
}

impl Peer {
    fn new(bed: &Bed, id: &str) -> Self {
        let file = fifo(&bed.path(&format!("{id}.out")), OFlags::NONBLOCK);
        let waiting = file.try_clone().unwrap();
        let got = Arc::new(Mutex::new((file, Vec::new())));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, end) = (Arc::clone(&got), Arc::clone(&over));
        let reader = std::thread::spawn(move || {
            while !end.load(Ordering::SeqCst) {
                let mut fds = [PollFd::new(&waiting, PollFlags::IN)];
                poll(&mut fds, Some(&MILLISECOND)).unwrap();
                drain(&shared);
            }
        });
        Peer {
            typing: bed.path(&format!("{id}.in")),
            got,
            reader: Some(reader),
            over,
            seams: Vec::new(),
        }
    }

    fn received(&self) -> usize {
        self.got.lock().unwrap().1.len()
    }

    /// Waits until the guest has written more.
    fn more(&self) {
        let before = self.received();
        until("the guest goes on", || self.received() > before + 4096);
    }

    /// Nobody writes just now: everything so far came from the former process.
    fn seam(&mut self) {
        self.seams.push(drain(&self.got));
    }

    /// Types lines, a hundred a millisecond at most, until told to stop, then the end; returns how
    /// many.
    fn type_until(&self, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
        let mut file = fifo(&self.typing, OFlags::empty());
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            let mut line = 0;
            while !stop.load(Ordering::SeqCst) {
                file.write_all(&text(Form::Padded, line..line + 100))
                    .unwrap();
                line += 100;
                poll(&mut [], Some(&MILLISECOND)).unwrap();
            }
            file.write_all(b"END\n").unwrap();
            line
        })
    }

    /// Everything that came, up to the end that the guest's writer wrote.
    fn finish(mut self) -> Vec<u8> {
        until("the end", || self.got.lock().unwrap().1.ends_with(b"END\n"));
        self.over.store(true, Ordering::SeqCst);
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.got.lock().unwrap().1)
    }
}

fn drain(shared: &Mutex<(File, Vec<u8>)>) -> usize {
    let mut shared = shared.lock().unwrap();
    let (file, got) = &mut *shared;
    match file.read_to_end(got) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("a FIFO with a writer has no end: {other:?}"),
    }
    got.len()
}

/// Opens a FIFO so that it neither waits for the other side nor ends with it.
fn fifo(path: &Path, flags: OFlags) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true);
    options
        .custom_flags(flags.bits() as i32)
        .open(path)
        .unwrap()
}

#[test]
fn a_device_process_that_stops_and_starts_loses_and_doubles_nothing() {
    let bed = Bed::new();
    let mut daemon = bed.daemon();
    let mut guest = bed.boot();
    let ports = [("con0", "/dev/hvc0"), ("dat0", "/dev/vport0p1")];
    let stop = Arc::new(AtomicBool::new(false));
    let mut sides = Vec::new();
    for (id, device) in ports {
        let (write, read) = (format!("/tmp/{id}-write"), format!("/tmp/{id}-read"));
        guest.run(&format!(
            "numbers both {device} 10 500 /tmp/stop >{write} 2>{read} &"
        ));
        let peer = Peer::new(&bed, id);
        let typist = peer.type_until(&stop);
        sides.push((id, peer, typist, write, read));
    }
    for _ in 0..ROUNDS {
        sides.iter().for_each(|(_, peer, ..)| peer.more());
        let (status, said) = daemon.terminate();
        assert!(status.success(), "{said}");
        daemon = bed.daemon();
    }
    sides.iter().for_each(|(_, peer, ..)| peer.more());
    stop.store(true, Ordering::SeqCst);
    for (_, _, _, _, read) in &sides {
        guest.run(&format!("finish {read} >/dev/null"));
    }
    guest.run("touch /tmp/stop");
    for (id, peer, typist, write, read) in sides {
        let count = guest.wrote(&write);
        assert_same(&peer.finish(), &lines(count), id);
        let typed = typist.join().unwrap();
        let read = guest.finish(&read);
        assert_eq!(read, format!("read {typed} lines\n"), "{id}");
        eprintln!("{id}: {ROUNDS} restarts, {count} lines out, {typed} in");
    }
    drop(daemon);
}

/// What the guest has handed over and the process had not answered is done again by the next one,
/// so output can be doubled, in one place and by one batch at most, and never lost.
#[test]
fn a_device_process_that_is_killed_loses_nothing_and_doubles_a_batch_at_most() {
    let bed = Bed::new();
    let mut daemon = bed.daemon();
    let mut guest = bed.boot();
    guest.run("numbers both /dev/vport0p1 100 500 /tmp/stop >/tmp/write 2>/tmp/read &");
    let mut peer = Peer::new(&bed, "dat0");
    let mut typing = fifo(&peer.typing, OFlags::empty());
    for round in 0..ROUNDS as u64 {
        peer.more();
        daemon.kill();
        peer.seam();
        // Nobody is there to take it, so it waits for the next process.
        typing
            .write_all(&text(Form::Padded, round..round + 1))
            .unwrap();
        daemon = bed.daemon();
        peer.more();
    }
    typing.write_all(b"END\n").unwrap();
    let read = guest.finish("/tmp/read");
    assert_eq!(read, format!("read {ROUNDS} lines\n"));
    guest.run("touch /tmp/stop");
    let expected = lines(guest.wrote("/tmp/write"));
    let seams = peer.seams.clone();
    let got = peer.finish();
    let mut at = 0;
    let ends = seams.iter().copied().chain([got.len()]);
    let starts = [0].into_iter().chain(seams.iter().copied());
    for (start, end) in starts.zip(ends) {
        let piece = &got[start..end];
        let again = (0..=at.min(BATCH)).find(|again| expected[at - again..].starts_with(piece));
        let again = again.unwrap_or_else(|| panic!("the bytes {start}..{end} are not the next"));
        eprintln!("{} bytes, {again} of them sent before", piece.len());
        at = at - again + piece.len();
    }
    assert_eq!(at, expected.len());
    // The console lives as well.
    let console = Peer::new(&bed, "con0");
    guest.run("echo END >&3");
    assert_eq!(console.finish(), b"END\n");
    drop(daemon);
}

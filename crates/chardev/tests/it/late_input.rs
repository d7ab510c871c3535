//! What a peer sends after the change is refused by its own `write` where the kernel can do that,
//! and everything a write had returned for is read; where it cannot, the connection ends soon.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, add, change, hold, ring, text, wait_for};
use chardev::back::OneFd;
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

fn server(addr: SocketAddress) -> Options {
    hold("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(true))
}

fn unix(path: &Path) -> Options {
    server(SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    })
}

fn front(chardevs: &Chardevs) -> FrontEnd {
    chardevs.front_end("con0", Arc::new(())).unwrap()
}

/// A peer that never stops sending until it is refused.
struct Sender {
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<std::io::Error>,
}

impl Sender {
    fn start(mut peer: impl Write + Send + 'static) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let thread = std::thread::spawn(move || {
            let end = Instant::now() + DEADLINE;
            let bytes: Vec<u8> = (0..=250).cycle().take(251 * 16).collect();
            let mut at = 0;
            while Instant::now() < end {
                match peer.write(&bytes[at % 251..][..97]) {
                    Ok(count) => at += count,
                    Err(error) => return error,
                }
                counted.store(at, Ordering::SeqCst);
            }
            panic!("{at} bytes were taken, and none refused");
        });
        Sender { sent, thread }
    }

    /// Waits for the refusal: how many bytes were taken, and the error.
    fn refused(self) -> (usize, std::io::Error) {
        let error = self.thread.join().unwrap();
        (self.sent.load(Ordering::SeqCst), error)
    }
}

/// Reads what the sender sent, until `enough` have come.
struct Reader {
    front: FrontEnd,
    got: usize,
}

impl Reader {
    fn read_to(&mut self, enough: usize) {
        let mut buf = vec![0; 64 << 10];
        wait_for("input", || {
            while self.front.next_event().is_some() {}
            let count = self.front.read(&mut buf);
            for (at, byte) in (self.got..).zip(&buf[..count]) {
                assert_eq!(usize::from(*byte), at % 251, "at {at}");
            }
            self.got += count;
            (self.got >= enough).then_some(())
        });
    }
}

/// A change under a peer that goes on sending: all that was taken from it is read, and not a byte
/// of it came too late.
fn nothing_is_swallowed(chardevs: &Chardevs, front: FrontEnd, peer: impl Write + Send + 'static) {
    let sender = Sender::start(peer);
    let mut reader = Reader { front, got: 0 };
    reader.read_to(100_000);
    change(chardevs, "con0", &ring(4096)).unwrap();
    let (sent, error) = sender.refused();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    reader.read_to(sent);
    assert_eq!(reader.got, sent);
    assert_eq!(reader.front.stats().input_late, 0);
}

#[test]
fn a_unix_client_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    for _ in 0..20 {
        let chardevs = Chardevs::new().unwrap();
        add(&chardevs, "con0", &unix(&path));
        let peer = UnixStream::connect(&path).unwrap();
        nothing_is_swallowed(&chardevs, front(&chardevs), peer);
    }
}

#[test]
fn a_unix_client_with_output_to_read_is_refused_and_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &unix(&path));
    let mut peer = UnixStream::connect(&path).unwrap();
    let front = front(&chardevs);
    wait_for("the client", || front.is_open().then_some(()));
    assert_eq!(front.write(&[b'o'; 5000]), 5000);
    nothing_is_swallowed(&chardevs, front, peer.try_clone().unwrap());
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all, [b'o'; 5000]);
}

/// A console over one end of a socket pair.
fn add_given(chardevs: &Chardevs, ours: UnixStream) {
    let address = SocketAddress::Fd("x".to_owned());
    let options = hold("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(false));
    let fds = Arc::new(OneFd::new(ours.into()));
    let added = chardevs.add_with("con0", &options, fds);
    chardevs.block_on(added).unwrap();
}

#[test]
fn a_socket_pair_given_as_a_descriptor_is_refused_at_once() {
    let chardevs = Chardevs::new().unwrap();
    let (ours, peer) = UnixStream::pair().unwrap();
    add_given(&chardevs, ours);
    nothing_is_swallowed(&chardevs, front(&chardevs), peer);
}

#[test]
fn more_than_fits_into_memory_is_left_in_the_kernel_and_read_from_there() {
    let chardevs = Chardevs::new().unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let size = 40 << 20;
    if rustix::net::sockopt::set_socket_send_buffer_size_force(&peer, 2 * size).is_err() {
        rustix::net::sockopt::set_socket_send_buffer_size(&peer, 2 * size).unwrap();
    }
    add_given(&chardevs, ours);
    let front = front(&chardevs);
    peer.set_nonblocking(true).unwrap();
    let bytes: Vec<u8> = (0..=250).cycle().take(251 * 400).collect();
    let mut sent = 0;
    while let Ok(count) = peer.write(&bytes[sent % 251..][..60_000]) {
        sent += count;
        if sent >= size {
            break;
        }
    }
    change(&chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(peer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut reader = Reader { front, got: 0 };
    reader.read_to(sent);
    assert_eq!(reader.got, sent);
    let stats = reader.front.stats();
    assert_eq!((stats.input_late, stats.input_overflowed), (0, 0));
}

#[test]
fn a_writer_into_a_fifo_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for end in ["in", "out"] {
        let path = dir.path().join(format!("p.{end}"));
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
    let input = dir.path().join("p.in");
    let pipe = hold("pipe").with("device", text(dir.path().join("p")));
    let out = dir.path().join("file");
    let file = hold("file")
        .with("out", text(&out))
        .with("in", text(&input));
    for options in [pipe, file] {
        for _ in 0..20 {
            let chardevs = Chardevs::new().unwrap();
            add(&chardevs, "con0", &options);
            let peer = OpenOptions::new().write(true).open(&input).unwrap();
            nothing_is_swallowed(&chardevs, front(&chardevs), peer);
        }
    }
}

#[test]
fn a_writer_into_a_fifo_that_is_used_again_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for end in ["in", "out"] {
        let path = dir.path().join(format!("p.{end}"));
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
    let pipe = hold("pipe").with("device", text(dir.path().join("p")));
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &pipe);
    let peer = OpenOptions::new()
        .write(true)
        .open(dir.path().join("p.in"))
        .unwrap();
    let sender = Sender::start(peer);
    let mut reader = Reader {
        front: front(&chardevs),
        got: 0,
    };
    for round in 1..=20 {
        reader.read_to(20_000 * round);
        change(&chardevs, "con0", &pipe).unwrap();
    }
    reader.read_to(600_000);
    change(&chardevs, "con0", &ring(4096)).unwrap();
    let (sent, _) = sender.refused();
    reader.read_to(sent);
    assert_eq!(reader.got, sent);
    assert_eq!(reader.front.stats().input_late, 0);
}

fn open_slave(path: &str, flags: OFlags) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlags::NOCTTY | flags).bits() as i32)
        .open(path)
        .unwrap()
}

#[test]
fn a_writer_into_a_pty_waits_and_is_refused_when_the_reader_has_everything() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let mut slave = open_slave(&path, OFlags::empty());
    let front = front(&chardevs);
    wait_for("the reader", || front.is_open().then_some(()));
    front.write_all(&[b'o'; 5000], Some(DEADLINE)).unwrap();
    let sender = Sender::start(slave.try_clone().unwrap());
    let mut reader = Reader { front, got: 0 };
    reader.read_to(50_000);
    change(&chardevs, "con0", &ring(4096)).unwrap();
    let mut all = Vec::new();
    let mut buf = [0; 1000];
    let end = loop {
        match slave.read(&mut buf) {
            Ok(0) => break "end-of-file".to_owned(),
            Ok(count) => all.extend_from_slice(&buf[..count]),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(all.len(), 5000, "{end}");
    let (sent, error) = sender.refused();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::IO.raw_os_error())
    );
    // A write that was under way in the kernel may come after the cut, and is counted.
    let late = reader.front.stats().input_late as usize;
    assert!(late <= 97, "{late}");
    reader.read_to(sent - late);
    assert_eq!(reader.got + late, sent);
}

#[test]
fn a_pty_is_hung_up_as_soon_as_its_reader_has_everything() {
    let chardevs = Chardevs::new().unwrap();
    let mut shortest = DEADLINE;
    for _ in 0..5 {
        let id = "con0";
        let path = add(&chardevs, id, &hold("pty")).pty.unwrap();
        let mut slave = open_slave(&path, OFlags::empty());
        let front = front(&chardevs);
        wait_for("the reader", || front.is_open().then_some(()));
        let mut accepted = 0;
        while let count @ 1.. = front.write(&[b'o'; 7000]) {
            accepted += count;
        }
        change(&chardevs, id, &ring(4096)).unwrap();
        let mut all = 0;
        let mut buf = [0; 1000];
        let mut taken = Instant::now();
        while let Ok(count @ 1..) = slave.read(&mut buf) {
            all += count;
            taken = Instant::now();
        }
        shortest = shortest.min(taken.elapsed());
        assert_eq!(all, accepted);
        drop(front);
        chardevs.blocking_remove(id).unwrap();
    }
    assert!(shortest < Duration::from_millis(200), "{shortest:?}");
}

#[test]
fn a_program_that_waits_in_its_write_still_gets_its_output() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let mut slave = open_slave(&path, OFlags::empty());
    let front = front(&chardevs);
    wait_for("the reader", || front.is_open().then_some(()));
    front.write_all(&[b'o'; 5000], Some(DEADLINE)).unwrap();
    change(&chardevs, "con0", &ring(4096)).unwrap();
    slave.write_all(b"typed in vain").unwrap();
    let mut all = vec![0; 5000];
    slave.read_exact(&mut all).unwrap();
    assert_eq!(all, [b'o'; 5000]);
    wait_for("the count", || {
        (front.stats().input_late == 13).then_some(())
    });
}

fn tcp(chardevs: &Chardevs) -> TcpStream {
    let inet = InetAddress {
        host: "127.0.0.1".to_owned(),
        port: "0".to_owned(),
        ..InetAddress::default()
    };
    let info = add(chardevs, "con0", &server(SocketAddress::Inet(inet)));
    let port = info.filename.rsplit_once(':').unwrap().1;
    let port: u16 = port.trim_end_matches(",server=on").parse().unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

#[test]
fn a_tcp_client_that_goes_on_sending_is_refused_soon_and_can_read_what_it_was_sent() {
    let chardevs = Chardevs::new().unwrap();
    let mut peer = tcp(&chardevs);
    let front = front(&chardevs);
    wait_for("the client", || front.is_open().then_some(()));
    assert_eq!(front.write(&[b'o'; 5000]), 5000);
    let sender = Sender::start(peer.try_clone().unwrap());
    let mut reader = Reader { front, got: 0 };
    reader.read_to(100_000);
    let changed = Instant::now();
    change(&chardevs, "con0", &ring(4096)).unwrap();
    let (sent, _) = sender.refused();
    assert!(
        changed.elapsed() < Duration::from_secs(8),
        "{:?}",
        changed.elapsed()
    );
    let mut all = Vec::new();
    let _ = peer.read_to_end(&mut all);
    assert_eq!(all.len(), 5000);
    let late = reader.front.stats().input_late as usize;
    assert!(late > 0 && reader.got + late <= sent);
}

#[test]
fn a_silent_tcp_client_is_let_go_after_a_second() {
    let chardevs = Chardevs::new().unwrap();
    let mut peer = tcp(&chardevs);
    let front = front(&chardevs);
    wait_for("the client", || front.is_open().then_some(()));
    assert_eq!(front.write(&[b'o'; 5000]), 5000);
    change(&chardevs, "con0", &ring(4096)).unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 5000);
    let changed = Instant::now();
    wait_for("the refusal", || {
        peer.write(b"x").is_err().then(|| {
            // Two writes: the first finds out, the second is told.
            std::thread::yield_now();
        })
    });
    assert!(
        changed.elapsed() < Duration::from_secs(8),
        "{:?}",
        changed.elapsed()
    );
    drop(OwnedFd::from(peer));
}

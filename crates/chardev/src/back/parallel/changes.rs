//! Changes from a parallel port to every kind and back. There is no port here, so its driver is the
//! one of `tests.rs`; what is open and changed is the back end itself.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use chardev_core::ParallelRequest as Request;
use chardev_core::spec::{InetAddress, OptionValue, SocketAddress};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::tests::Toy;
use super::*;
use crate::screen::Size;
use crate::sys::ppdev::Call;
use crate::{BlockingFrontEnd as _, Chardevs, Info};

const ROUNDS: usize = 12;
const KINDS: [&str; 9] = [
    "file", "unix", "tcp", "pty", "pipe", "ringbuf", "vc", "msmouse", "wctablet",
];
const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

static TOY: LazyLock<Toy> = LazyLock::new(Toy::default);
static OVER_A_TOY: Kind = Kind {
    spec: KindSpec::new("x-toy", "a parallel port that nobody has", &[]),
    open: |_, _| Box::pin(async { Ok(TOY.backend() as Box<dyn Backend>) }),
};

fn hold(kind: &'static str) -> Options {
    Options::new(kind).with("x-closed", OptionValue::Str("hold".to_owned()))
}

/// A back end of `kind`, whose file, FIFO or socket is at `path`.
fn options(kind: &'static str, path: &Path) -> Options {
    let at = || OptionValue::Str(path.to_str().unwrap().to_owned());
    let socket = |address| hold("socket").with("addr", OptionValue::Address(address));
    match kind {
        "file" => hold("file").with("out", at()),
        "pipe" => {
            mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            hold("pipe").with("device", at())
        }
        "pty" => hold("pty").with("x-settle-ms", OptionValue::Int(0)),
        "unix" => socket(SocketAddress::Unix {
            path: path.to_str().unwrap().to_owned(),
            abstract_name: false,
            tight: true,
        }),
        "tcp" => socket(SocketAddress::Inet(InetAddress {
            host: "127.0.0.1".to_owned(),
            port: "0".to_owned(),
            ..InetAddress::default()
        })),
        kind => hold(kind),
    }
}

/// The other end of it, where that is a file.
fn peer(kind: &str, path: &Path, info: &Info) -> Option<Box<dyn Read>> {
    Some(match kind {
        "file" => Box::new(File::open(path).unwrap()),
        "pipe" => Box::new(
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap(),
        ),
        "pty" => Box::new(File::open(info.pty.as_ref().unwrap()).unwrap()),
        "unix" => Box::new(UnixStream::connect(path).unwrap()),
        "tcp" => {
            let address = info.filename.strip_suffix(",server=on").unwrap();
            let address = address.strip_prefix("disconnected:tcp:").unwrap();
            Box::new(TcpStream::connect(address).unwrap())
        }
        _ => return None,
    })
}

/// The port takes no output: what is written waits for the next back end, and is not lost. What was
/// set up of its registers is set up each time.
#[test]
fn changes_from_and_to_every_kind_lose_nothing_and_set_the_registers_up() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::with_kinds(&[&OVER_A_TOY]).unwrap();
    chardevs.blocking_add("lp", hold("x-toy")).unwrap();
    let front = chardevs.front_end("lp", Arc::new(())).unwrap();
    let mut line = 0;
    for round in 0..ROUNDS {
        for kind in KINDS {
            line += 1;
            let said = format!("{line:06} {kind}\r\n");
            assert_eq!(front.write(said.as_bytes()), 0, "a port prints nothing");
            front.parallel(Request::WriteData(line as u8)).unwrap();
            let path = dir.path().join(format!("{kind}{round}"));
            let info = chardevs
                .blocking_change("lp", options(kind, &path))
                .unwrap();
            assert!(front.parallel(Request::ReadData).is_err());
            let peer = peer(kind, &path, &info);
            // A mouse is no peer either.
            if kind != "msmouse" {
                front.write_all(said.as_bytes(), LIMIT).unwrap();
            }
            let got = match (peer, kind) {
                (Some(mut peer), _) => {
                    let mut got = vec![0; said.len()];
                    read_exactly(&mut *peer, &mut got);
                    String::from_utf8(got).unwrap()
                }
                (None, "ringbuf") => {
                    let read = chardevs.ring_read("lp", 100).unwrap();
                    String::from_utf8(read).unwrap()
                }
                (None, "vc") => {
                    let showing = chardevs.screen("lp", Size::DEFAULT);
                    let shown = chardevs.block_on(showing).unwrap().shown;
                    format!("{}\r\n", shown.row_text(0))
                }
                (None, _) => said.clone(),
            };
            assert_eq!(got, said, "{kind}");
            TOY.calls();
            chardevs.blocking_change("lp", hold("x-toy")).unwrap();
            let again = Call::WriteData(line as u8);
            assert!(TOY.calls().contains(&again), "after {kind}");
        }
    }
    assert!(line * 2 > 200);
    let stats = front.stats();
    let lost = (stats.output_discarded, stats.output_undrained);
    assert_eq!(lost, (0, 0), "{stats:?}");
}

/// A file has its content a moment later.
fn read_exactly(peer: &mut dyn Read, got: &mut [u8]) {
    let mut done = 0;
    let began = std::time::Instant::now();
    while done < got.len() {
        assert!(began.elapsed() < LIMIT.unwrap(), "only {done} bytes came");
        match peer.read(&mut got[done..]).unwrap() {
            0 => std::thread::park_timeout(Duration::from_millis(1)),
            count => done += count,
        }
    }
}

//! The matrix once more, through a null modem that moves most bytes from socket to socket without
//! looking at them: a change, a slow peer, a viewer that comes and one that leaves, and a log get
//! exactly what is theirs, whatever is in the kernel's pipe at that moment.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Instant;

use chardev_load::LoadError;
use chardev_load::lines::{Form, Lines};
use chardev_load::peers::Load;
use chardev_load::program;
use chardev_load::random::Random;
use chardev_load::rig::{Rig, Setup};
use chardev_load::viewer::Viewer;
use chardev_qapi::{Json, Object};

use crate::daemon_rig::DEADLINE;
use crate::matrix::{NODES, TCP, UNIX, circuit, kind};

/// A socket listens in one and connects in the next; in the last one there is a log, for which
/// output is copied.
const ROUNDS: usize = 3;
/// How much a peer moves both ways before it is replaced, so that the pieces have become large.
const ENOUGH: u64 = 256 << 10;
/// The last line a program prints is not longer.
const LAST_LINE: usize = 40;

/// Where the program is at the other end of the null modem.
#[derive(Clone)]
enum Line {
    Unix(PathBuf),
    Tcp(u16),
}

impl Line {
    /// A place where nobody is yet.
    fn new(node: usize, dir: &tempfile::TempDir) -> Self {
        match node {
            UNIX => Line::Unix(dir.path().join("line")),
            _ => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                Line::Tcp(listener.local_addr().unwrap().port())
            }
        }
    }

    fn chardev(&self) -> String {
        let address = match self {
            Line::Unix(path) => format!("path={}", path.display()),
            Line::Tcp(port) => format!("host=127.0.0.1,port={port}"),
        };
        format!("socket,id=line,{address},server=on,wait=off,x-closed=hold")
    }

    fn connect(&self) -> OwnedFd {
        let began = Instant::now();
        loop {
            let connected = match self {
                Line::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
                Line::Tcp(port) => TcpStream::connect(("127.0.0.1", *port)).map(OwnedFd::from),
            };
            match connected {
                Ok(socket) => return socket,
                Err(error) => assert!(began.elapsed() < DEADLINE, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    /// The daemon with a null modem from the console to here.
    fn daemon(&self, setup: &Setup) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        command
            .args(["--no-default-monitor", "--chardev", &setup.chardev])
            .args(["--chardev", &self.chardev(), "--device"])
            .arg(format!("null-modem,chardev={},peer=line", setup.id))
            .args(setup.monitors.iter().flat_map(|dev| ["--qmp", dev]));
        command
    }
}

/// The console, and who looks at it.
struct Bed {
    rig: Rig,
    program: JoinHandle<std::io::Result<()>>,
    viewer: Option<Viewer>,
    scratch: Vec<u8>,
    viewed: u64,
    /// How many bytes had been spliced when the back end was changed: output, input.
    spliced: [u64; 2],
    logged: bool,
}

impl Bed {
    fn start(node: usize, dir: &tempfile::TempDir) -> Result<Self, LoadError> {
        let line = Line::new(node, dir);
        let mut program = None;
        let first = Load {
            kind: kind(node, 0),
            slow: false,
        };
        let mut rig = Rig::start_with(first, |setup| {
            let (there, report) = (line.clone(), setup.report.clone());
            program = Some(std::thread::spawn(move || {
                program::run_on_socket(there.connect(), &report)
            }));
            line.daemon(setup)
        })?;
        rig.set_enough(ENOUGH);
        Ok(Bed {
            rig,
            program: program.ok_or("the daemon was not started")?,
            viewer: None,
            scratch: vec![0; 128 << 10],
            viewed: 0,
            spliced: [0; 2],
            logged: false,
        })
    }

    fn counts(&mut self, id: &str) -> Result<[u64; 2], LoadError> {
        let asked = Object::new().with("id", id);
        let stats = self.rig.execute("x-query-chardev-stats", asked)?;
        let first = stats.as_array().and_then(|stats| stats.first());
        let count = |name| {
            first
                .and_then(|stats| stats.get(name))
                .and_then(Json::as_u64)
        };
        let names = ["output-spliced", "input-spliced"];
        let [output, input] = names.map(|name| count(name).ok_or("no counter"));
        Ok([output?, input?])
    }

    /// Waits until bytes go both ways, and without a copy where both ends are sockets of a kind.
    fn wait_for_load(&mut self, splices: bool) -> Result<(), LoadError> {
        self.rig.wait_for_load()?;
        let began = Instant::now();
        loop {
            self.look()?;
            let now = self.counts("con0")?;
            let more = [0, 1].map(|way| now[way] > self.spliced[way]);
            if !splices || (more[0] || self.logged) && more[1] {
                self.spliced = now;
                return Ok(());
            }
            if began.elapsed() > DEADLINE {
                return Err(format!("{now:?} after {:?} are spliced", self.spliced).into());
            }
        }
    }

    /// A viewer comes, or the one that is there leaves.
    fn turn_viewer(&mut self, slow: bool) -> Result<(), LoadError> {
        self.viewer = match self.viewer.take() {
            Some(_) => None,
            None => Some(self.rig.view(slow)?),
        };
        Ok(())
    }

    fn look(&mut self) -> Result<(), LoadError> {
        if let Some(viewer) = &mut self.viewer {
            if !viewer.look(&mut self.scratch, &mut self.viewed)? {
                self.viewer = None;
            }
        }
        Ok(())
    }
}

/// Whether it is the end of all that was printed.
fn check_log(log: &[u8], printed: u64) {
    let lines = log.len() - LAST_LINE;
    let end = log[lines..].windows(4).position(|word| word == b"end ");
    let lines = lines + end.expect("the last line");
    let mut expected = vec![0; lines];
    Lines::from_offset(Form::Plain, printed - log.len() as u64).fill(&mut expected);
    let mut both = log.iter().zip(&expected);
    let wrong = both.position(|(got, printed)| got != printed);
    assert_eq!(wrong, None, "of {lines} bytes of lines");
}

/// The back ends of the console take turns while the program stays a socket of this node's kind.
fn change_between_all_pairs(node: usize, seed: u64) -> Result<(), LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let mut bed = Bed::start(node, &dir)?;
    let log = dir.path().join("log");
    let mut unlogged = 0;
    for round in 0..ROUNDS {
        if round == ROUNDS - 1 {
            // Or it would be left out where a disk does not keep up.
            let hold = Object::new().with("id", "con0").with("x-log-full", "hold");
            bed.rig.execute("x-chardev-set", hold)?;
            bed.rig.set_log(log.clone());
        }
        for pair in circuit(node, &mut random).windows(2) {
            bed.wait_for_load(pair[0] == node)?;
            if random.one_in(4) {
                bed.turn_viewer(random.one_in(4))?;
            }
            let slow = pair[1] != node && random.one_in(16);
            let kind = kind(pair[1], round);
            bed.rig.change(Load { kind, slow })?;
            if round == ROUNDS - 1 && !bed.logged {
                bed.logged = true;
                unlogged = bed.counts("con0")?[0];
            }
        }
    }
    bed.wait_for_load(true)?;
    let counts = [bed.counts("con0")?, bed.counts("line")?];
    let Bed {
        rig,
        program,
        viewed,
        ..
    } = bed;
    let report = rig.finish()?;
    program.join().unwrap().unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.changes.len(), ROUNDS * NODES * NODES);
    assert!(viewed > 0, "the viewers saw something");
    check_log(&fs::read(&log).unwrap(), report.output.bytes);
    assert_eq!(counts[0][0], unlogged, "what a log gets is copied");
    assert!(
        counts.iter().flatten().all(|count| *count > 0),
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn every_pair_beside_a_unix_socket() {
    let (node, seed) = (UNIX, 5);
    change_between_all_pairs(node, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

#[test]
fn every_pair_beside_tcp() {
    let (node, seed) = (TCP, 6);
    change_between_all_pairs(node, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

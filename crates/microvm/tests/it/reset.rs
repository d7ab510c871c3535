//! A reset of the machine: every port keeps its peer, and nothing that was printed before it is
//! lost.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::common;
use crate::common::vm::{DEADLINE, Vm, listening, retry};
use chardev_load::check::{Segment, Tally};

/// The ways in which the guest can reset the machine: through the keyboard controller, and by three
/// faults in a row.
const RESETS: [&str; 4] = ["!reset\n", "!fault\n", "!fault\n", "!reset\n"];
/// How many lines every port prints at least before a reset.
const LINES: u64 = 100;

/// The peer of a port, connected once and for all.
struct Peer {
    stream: BufReader<UnixStream>,
    /// What the guest has printed since it began, and how many lines that is.
    lines: Segment,
    count: u64,
}

impl Peer {
    fn connect(path: &Path) -> Self {
        let stream = retry(|| UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Peer {
            stream: BufReader::new(stream),
            lines: Segment::default(),
            count: 0,
        }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Reads a line, which must be the next one; `false` if the guest has ended its lines, whose
    /// number must be right.
    fn read(&mut self) -> bool {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        assert!(line.ends_with(b"\n"), "the connection stays");
        self.lines.push(&line);
        assert!(self.lines.goes_on(), "{:?}", self.lines);
        self.count += 1;
        if !self.lines.has_end() {
            return true;
        }
        let mut tally = Tally::default();
        tally.append(std::mem::take(&mut self.lines));
        assert!(tally.verdict().is_clean(), "{tally:?}");
        self.count = 0;
        false
    }

    fn read_to_end(&mut self) {
        while self.read() {}
    }
}

#[test]
fn every_port_keeps_its_peer_and_its_lines() {
    if !common::kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let paths = ["con0", "con1", "con2"].map(|id| dir.path().join(id));
    let chardevs: Vec<String> = (0..)
        .zip(&paths)
        .map(|(n, path)| listening(&format!("con{n}"), path))
        .collect();
    let mut arguments = vec!["-append", "lines=0 all=1"];
    arguments.extend(chardevs.iter().flat_map(|chardev| ["-chardev", chardev]));
    arguments.extend(["-serial", "chardev:con0", "-serial", "null"]);
    arguments.extend(["-virtio", "con1,x-full=wait"]);
    arguments.extend(["-virtio", "con2,name=org.test.0"]);
    let mut vm = Vm::spawn(dir, &arguments);
    let mut peers = paths.map(|path| Peer::connect(&path));
    for reset in RESETS {
        for peer in &mut peers {
            while peer.count < LINES {
                assert!(peer.read());
            }
        }
        peers[0].send(reset);
        peers.iter_mut().for_each(Peer::read_to_end);
    }
    // The input of every port finds its way as well, once the guest has set its devices up.
    for peer in &mut peers {
        assert!(peer.read());
        peer.send("!stop\n");
        peer.read_to_end();
    }
    vm.execute("quit", "{}");
    assert!(vm.ended().success());
}

//! Whoever does not read what a monitor, a viewer or an event tells stops no console, and is told
//! what it has missed.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{DEADLINE, Daemon, change, connect, console, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// More than all queues and buffers between a console and a viewer hold.
const MUCH: usize = 4 << 20;

/// A daemon with a console `con`, what is written to it, and what its peer reads; a second monitor
/// at `second.sock`, and a chardev with a name of 4,000 letters to change.
struct Rig {
    daemon: Daemon,
    client: Client<UnixStream>,
    feed: UnixStream,
    peer: UnixStream,
    long: String,
}

impl Rig {
    fn start() -> Self {
        let long = "c".repeat(4000);
        let socket =
            |id: &str| format!("socket,id={id},path={id}.sock,server=on,wait=off,x-closed=hold");
        let daemon = Daemon::start(&[
            "-chardev",
            &socket("feed"),
            "-chardev",
            &format!("{},x-history=65536", socket("con")),
            "-device",
            "null-modem,chardev=feed,peer=con",
            "-chardev",
            "socket,id=second,path=second.sock,server=on,wait=off",
            "-mon",
            "chardev=second,mode=control",
            "-chardev",
            &format!("null,id={long}"),
        ]);
        let open = |name: &str| {
            let socket = console(&daemon.dir().join(name));
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket.set_write_timeout(Some(DEADLINE)).unwrap();
            socket
        };
        let (feed, peer) = (open("feed.sock"), open("con.sock"));
        let client = daemon.client();
        client.stream().set_read_timeout(Some(DEADLINE)).unwrap();
        Rig {
            daemon,
            client,
            feed,
            peer,
            long,
        }
    }

    fn second(&self) -> std::path::PathBuf {
        self.daemon.dir().join("second.sock")
    }

    /// The console's peer gets every byte, and other monitors are answered.
    fn check_console(&mut self) {
        let text: Vec<u8> = (0..MUCH / 8)
            .flat_map(|n| format!("{n:07}\n").into_bytes())
            .collect();
        let (feed, sent) = (&mut self.feed, &text);
        let mut got = vec![0; text.len()];
        std::thread::scope(|scope| {
            scope.spawn(move || feed.write_all(sent).expect("the console takes its output"));
            self.peer.read_exact(&mut got).expect("all of the output");
        });
        assert!(got == text, "the peer got something else");
        self.client.execute("query-chardev", Object::new()).unwrap();
    }
}

#[test]
fn a_monitors_client_that_does_not_read_stops_nobody() {
    let mut rig = Rig::start();
    let mut deaf = console(&rig.second());
    deaf.write_all(b"{'execute': 'qmp_capabilities'}").unwrap();
    deaf.set_nonblocking(true).unwrap();
    until("it is not listened to any more", || {
        let command = b"{'execute': 'query-qmp-schema'}";
        // A command that is cut here is of no use, but nobody is there to mind.
        let taken = deaf.write(command);
        taken.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    rig.check_console();
}

/// `getfd` with `arguments` for `socket`.
fn pass(client: &mut Client<UnixStream>, arguments: Object, socket: &UnixStream) {
    let command = Object::new()
        .with("execute", "getfd")
        .with("arguments", arguments);
    let text = Json::from(command).to_string();
    let fds = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    let bufs = [IoSlice::new(text.as_bytes())];
    let flags = SendFlags::empty();
    assert_eq!(
        sendmsg(client.stream(), &bufs, &mut ancillary, flags),
        Ok(text.len())
    );
    // The answer has no number; the next command passes over it.
}

#[test]
fn a_viewer_that_does_not_read_stops_nobody_and_is_told_its_gap() {
    let mut rig = Rig::start();
    let (mut viewer, theirs) = UnixStream::pair().unwrap();
    viewer.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = Object::new().with("fdname", "viewer");
    pass(&mut rig.client, name, &theirs);
    drop(theirs);
    let arguments = Object::new()
        .with("id", "con")
        .with("fdname", "viewer")
        .with("framed", true);
    rig.client.execute("x-chardev-watch", arguments).unwrap();
    rig.check_console();
    // Frames and gaps without a hole between them, to the last byte.
    let mut seen = Vec::new();
    let mut buf = [0; 65536];
    let (mut at, mut missing) = (0, 0);
    while at < MUCH {
        let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
            let count = viewer.read(&mut buf).expect("the rest of the output");
            seen.extend_from_slice(&buf[..count]);
            continue;
        };
        let header = String::from_utf8(seen[..end].to_vec()).unwrap();
        let words: Vec<&str> = header.split(' ').collect();
        let number = |index: usize| words[index].parse::<usize>().unwrap();
        assert_eq!(number(1), at, "{header}");
        match words[0] {
            "gap" => {
                missing += number(2) - at;
                at = number(2);
                seen.drain(..=end);
            }
            "data" => {
                while seen.len() < end + 1 + number(2) {
                    let count = viewer.read(&mut buf).expect("the rest of a frame");
                    seen.extend_from_slice(&buf[..count]);
                }
                at += number(2);
                seen.drain(..end + 1 + number(2));
            }
            other => panic!("a viewer is told {other}"),
        }
    }
    assert!(missing > 0, "nothing was missed");
}

#[test]
fn a_listener_that_does_not_read_stops_nobody_and_is_told_how_many_events_it_missed() {
    const CHANGES: u64 = 300;
    let mut rig = Rig::start();
    let mut deaf: Client<UnixStream> = connect(&rig.second());
    deaf.stream().set_read_timeout(Some(DEADLINE)).unwrap();
    let enable = Object::new().with("enable", true);
    deaf.execute("x-chardev-events", enable).unwrap();
    for _ in 0..CHANGES {
        change(&mut rig.client, &rig.long, "{'type': 'null', 'data': {}}");
    }
    rig.check_console();
    let (mut told, mut lost) = (0, 0);
    while lost == 0 {
        let event = deaf.next_event().expect("an event");
        let count = || event.data.get("count").and_then(Json::as_u64).unwrap();
        match event.name.as_str() {
            "X_CHARDEV_EVENTS_LOST" => lost = count(),
            "X_CHARDEV_CHANGED" => told += count(),
            _ => {}
        }
    }
    assert!(told < CHANGES, "nothing was lost");
    // From here on it is told everything again.
    change(&mut rig.client, "con", "{'type': 'ringbuf', 'data': {}}");
    let event = std::iter::from_fn(|| deaf.next_event().ok());
    let mut changed = event.filter(|event| event.name == "X_CHARDEV_CHANGED");
    let id = changed.next().expect("the change").data;
    assert_eq!(id.get("id").and_then(Json::as_str), Some("con"));
}

#[test]
fn what_a_client_that_has_left_was_to_be_told_is_not_for_the_next() {
    let rig = Rig::start();
    for _ in 0..100 {
        drop(console(&rig.second()));
        // A second greeting is no answer.
        connect(&rig.second());
    }
}

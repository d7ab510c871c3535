//! The real daemon and large rings: read as they are sent, moved without being copied, and smaller
//! where there is no memory.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{DEADLINE, Daemon, change, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

const MIB: usize = 1 << 20;
/// Enough that the answer is many times what is made ahead.
const LARGE: usize = 32 * MIB;

/// A number from `/proc/PID/status`, in bytes.
fn memory(daemon: &Daemon, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1024
}

fn stats(client: &mut Client<UnixStream>, id: &str) -> Json {
    let arguments = Object::new().with("id", id);
    let answer = client.execute("x-query-chardev-stats", arguments).unwrap();
    answer.as_array().unwrap()[0].clone()
}

fn number(stats: &Json, name: &str) -> u64 {
    stats
        .get(name)
        .and_then(Json::as_u64)
        .unwrap_or_else(|| panic!("no {name} in {stats}"))
}

fn filled_ring(options: &str, bytes: usize) -> Daemon {
    let daemon = Daemon::start(&[
        "-chardev",
        &format!("ringbuf,id=r,{options}"),
        "-device",
        &format!("exec,chardev=r,command=stty raw -echo; yes | head -c {bytes}; exec sleep 1000"),
    ]);
    until("the ring is full", || {
        number(&stats(&mut daemon.client(), "r"), "output-accepted") >= bytes as u64
    });
    daemon
}

#[test]
fn a_large_ring_is_read_in_one_answer_that_is_never_there_in_one_piece() {
    let daemon = filled_ring("size=32M", LARGE);
    let before = memory(&daemon, "VmRSS");
    let stream = UnixStream::connect(daemon.monitor()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    (&stream)
        .write_all(
            format!(
                "{{'execute': 'qmp_capabilities'}}{{'execute': 'ringbuf-read', 'id': 7, \
                 'arguments': {{'device': 'r', 'size': {LARGE}, 'format': 'utf8'}}}}\
                 {{'execute': 'query-name', 'id': 8}}"
            )
            .as_bytes(),
        )
        .unwrap();
    let mut reader = BufReader::new(&stream);
    let mut text = Vec::new();
    let mut piece = vec![0; MIB];
    while !text.ends_with(b"\"id\": 8}\r\n") {
        let count = reader.read(&mut piece).unwrap();
        assert!(count > 0, "the answer ends too early");
        text.extend_from_slice(&piece[..count]);
        let now = memory(&daemon, "VmRSS");
        assert!(now < before + 8 * MIB as u64, "{before} bytes became {now}");
    }
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<_> = text.split("\r\n").collect();
    // The greeting, the answer to the capabilities, and then ours.
    let content = "y\\n".repeat(LARGE / 2);
    assert!(
        lines[2] == format!(r#"{{"return": "{content}", "id": 7}}"#),
        "another text"
    );
    assert_eq!(lines[3], r#"{"return": {}, "id": 8}"#);
    until("the memory is given back", || {
        memory(&daemon, "VmRSS") < before - (LARGE / 2) as u64
    });
}

#[test]
fn a_full_ring_that_is_left_is_moved_and_its_memory_given_back() {
    let daemon = filled_ring("size=32M", LARGE);
    let before = memory(&daemon, "VmHWM");
    let mut client = daemon.client();
    change(
        &mut client,
        "r",
        "{'type': 'ringbuf', 'data': {'size': 67108864}}",
    );
    assert_eq!(
        number(&stats(&mut client, "r"), "ring-unread"),
        LARGE as u64
    );
    let most = memory(&daemon, "VmHWM");
    assert!(
        most < before + 8 * MIB as u64,
        "{before} bytes became {most}"
    );
    change(&mut client, "r", "{'type': 'null', 'data': {}}");
    assert_eq!(
        number(&stats(&mut client, "r"), "output-delivered"),
        LARGE as u64
    );
    until("the memory is given back", || {
        memory(&daemon, "VmRSS") < before - (LARGE / 2) as u64
    });
}

/// The address space the daemon has now and `more`.
fn limit(daemon: &Daemon, more: usize) {
    let pid = Pid::from_raw(daemon.id() as i32);
    let mut size = memory(daemon, "VmSize");
    loop {
        let limit = Rlimit {
            current: Some(size + more as u64),
            maximum: None,
        };
        prlimit(pid, Resource::As, limit).unwrap();
        // A thread that was just being started would leave it less than that.
        let now = memory(daemon, "VmSize");
        if now == size {
            return;
        }
        size = now;
    }
}

#[test]
fn memory_that_cannot_be_had_is_an_error_or_makes_a_ring_smaller() {
    // The C library has some hundred mebibytes of address space set aside.
    const TOTAL: usize = 256 * MIB;
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("go");
    let program = format!(
        "stty raw -echo; until test -e {}; do sleep 0.05; done; yes | head -c {TOTAL}; exec sleep 1000",
        flag.display()
    );
    let mut daemon = Daemon::start(&[
        "-chardev",
        "ringbuf,id=r,size=256M",
        "-device",
        &format!("exec,chardev=r,command={program}"),
    ]);
    let mut client = daemon.client();
    limit(&daemon, 100 * MIB);
    let large = Json::parse(
        "{'id': 'large', 'backend': {'type': 'ringbuf', 'data': {'size': 1073741824}}}",
    );
    let large = large.unwrap().as_object().unwrap().clone();
    let error = client
        .execute("chardev-add", large)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not enough memory for a ringbuf of 1073741824 bytes"),
        "{error}"
    );
    let history = Object::new().with("id", "r").with("x-history", 1u64 << 30);
    let error = client
        .execute("x-chardev-set", history)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not enough memory for an 'x-history' of 1073741824 bytes"),
        "{error}"
    );

    // From here on less is left than the ring may have.
    limit(&daemon, 44 * MIB);
    std::fs::write(&flag, "").unwrap();
    until("the program has written all", || {
        number(&stats(&mut client, "r"), "output-accepted") == TOTAL as u64
    });
    let now = stats(&mut client, "r");
    let (held, lost) = (
        number(&now, "ring-unread"),
        number(now.get("dropped").unwrap(), "overwritten"),
    );
    assert_eq!(held + lost, TOTAL as u64, "{now}");
    assert!(held > 0 && held < TOTAL as u64, "{now}");
    // What is kept is the newest, and the rest goes on.
    let read = Object::new().with("device", "r").with("size", MIB as u64);
    let text = client.execute("ringbuf-read", read).unwrap();
    let text = text.as_str().unwrap();
    assert_eq!(text.len(), MIB);
    assert!(text.starts_with("y\ny\n") || text.starts_with("\ny\ny"));
    drop(client);
    let (_, said) = daemon.terminate();
    let warning = "not enough memory for all of its ring buffer";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
}

/// A new thread needs a little more than its stack.
#[test]
fn a_thread_that_cannot_be_had_ends_nothing() {
    let daemon = Daemon::start(&["-chardev", "null,id=n"]);
    let name = |daemon: &Daemon| {
        let mut client = daemon.client();
        client.execute("query-name", Object::new()).unwrap();
    };
    // Each client has a thread look who it is.
    for pages in 0..8 {
        limit(&daemon, 2 * MIB + pages * 4096);
        name(&daemon);
    }
}

/// Every byte of it is six in the answer.
#[test]
fn a_message_there_is_no_memory_for_is_an_error() {
    let daemon = Daemon::start(&["-chardev", "null,id=n"]);
    let said_of = |request: &[u8], more| {
        let stream = UnixStream::connect(daemon.monitor()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        limit(&daemon, more);
        let mut sending = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                sending
                    .write_all(b"{'execute': 'qmp_capabilities'}")
                    .unwrap();
                sending.write_all(request).unwrap();
                sending
                    .write_all(b"\n{'execute': 'query-name', 'id': 'probe'}")
                    .unwrap();
            });
            let mut said = Vec::new();
            let mut piece = vec![0; MIB];
            while !said.ends_with(b"{\"return\": {}, \"id\": \"probe\"}\r\n") {
                let count = (&stream).read(&mut piece).unwrap();
                assert!(count > 0, "the daemon has ended");
                said.extend_from_slice(&piece[..count]);
            }
            said
        })
    };
    let of_text = |length| {
        let text = "\u{7f}".repeat(length);
        format!("{{'execute': 'query-name', 'id': '{text}'}}").into_bytes()
    };
    let of_tokens = |count| {
        let list = "{'a':1},".repeat(count);
        format!("{{'execute': 'query-name', 'id': [{list}1]}}").into_bytes()
    };
    for request in [of_text(60 * MIB), of_text(3 * MIB), of_tokens(300_000)] {
        let said = said_of(&request, 64 * MIB);
        let said = String::from_utf8_lossy(&said);
        let refusal = "\"Not enough memory for this message\"}}\r\n";
        assert!(said.contains(refusal), "{}", &said[..said.len().min(1000)]);
    }
    // Where there is enough, it is taken.
    let said = said_of(&of_text(3 * MIB), 256 * MIB);
    assert!(said.len() > 18 * MIB);
}

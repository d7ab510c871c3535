//! Monitors under load: thousands of commands a second, hundreds of monitors, and one that floods.
//!
//! How long the first runs, and how many commands a second it must then have reached, come from
//! `CHARDEV_LOAD_SECONDS` and `CHARDEV_LOAD_RATE`; without them it is short and asks for no rate,
//! since a debug build on a busy machine has none.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::daemon_rig::{DEADLINE, Daemon, connect, console};

/// How many commands are on their way at a time.
const BATCH: usize = 240;
/// What the memory may grow by while nothing is kept.
const FLAT: u64 = 4 << 20;

/// Commands that leave everything as it was, each with how its answer begins.
const MIX: [(&str, &str); 12] = [
    ("{'execute':'query-chardev'}", "{\"return\": [{"),
    (
        "{'execute':'chardev-add','arguments':{'id':'t','backend':{'type':'ringbuf','data':{'size':4096}}}}",
        "{\"return\": {}}",
    ),
    (
        "{'execute':'ringbuf-write','arguments':{'device':'t','data':'hello'}}",
        "{\"return\": {}}",
    ),
    (
        "{'execute':'ringbuf-read','arguments':{'device':'t','size':100}}",
        "{\"return\": \"hello\"}",
    ),
    (
        "{'execute':'chardev-change','arguments':{'id':'t','backend':{'type':'null','data':{}}}}",
        "{\"return\": {}}",
    ),
    (
        "{'execute':'chardev-send-break','arguments':{'id':'t'}}",
        "{\"return\": {}}",
    ),
    (
        "{'execute':'chardev-remove','arguments':{'id':'t'}}",
        "{\"return\": {}}",
    ),
    (
        "{'execute':'chardev-remove','arguments':{'id':'t'}}",
        "{\"error\": {\"class\": \"GenericError\"",
    ),
    ("{'execute':'query-version'}", "{\"return\": {\"qemu\""),
    (
        "{'execute':'human-monitor-command','arguments':{'command-line':'info status'}}",
        "{\"return\": \"VM status",
    ),
    (
        "{'execute':'nosuch'}",
        "{\"error\": {\"class\": \"CommandNotFound\"",
    ),
    (
        "{'execute': nonsense}",
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error",
    ),
];

#[test]
fn mixed_commands_go_on_and_on_and_memory_stays_flat() {
    let setting = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds: u64 = setting("CHARDEV_LOAD_SECONDS").unwrap_or(2);
    let rate: u64 = setting("CHARDEV_LOAD_RATE").unwrap_or(0);
    let daemon = Daemon::start(&["-chardev", "null,id=c0"]);
    let mut client = Raw::negotiated(&daemon);
    let one: String = MIX.iter().map(|(command, _)| *command).collect();
    let batch = one.repeat(BATCH / MIX.len());
    let mut memory = 0;
    let mut commands = 0;
    let mut began = Instant::now();
    loop {
        client.stream.write_all(batch.as_bytes()).unwrap();
        for number in 0..BATCH {
            let (command, answer) = MIX[number % MIX.len()];
            let line = client.line();
            assert!(line.starts_with(answer), "{command}: {line}");
        }
        commands += BATCH as u64;
        if memory == 0 {
            // The first round fills what is kept for the next ones.
            (memory, began, commands) = (resident(&daemon), Instant::now(), 0);
        }
        if began.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    let reached = (commands as f64 / began.elapsed().as_secs_f64()) as u64;
    let grown = resident(&daemon).saturating_sub(memory);
    println!("{commands} commands, {reached} a second, memory {memory} B and {grown} B more");
    assert!(
        grown < FLAT,
        "memory grew by {grown} B over {commands} commands"
    );
    assert!(
        reached >= rate,
        "{reached} commands a second, {rate} wanted"
    );
}

#[test]
fn two_hundred_monitors_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..200)
        .map(|number| dir.path().join(format!("{number}")))
        .collect();
    let devices: Vec<String> = paths
        .iter()
        .flat_map(|path| {
            [
                "-qmp".to_owned(),
                format!("unix:{},server=on,wait=off", path.display()),
            ]
        })
        .collect();
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&devices);
    let mut clients: Vec<_> = paths.iter().map(|path| connect(path)).collect();
    // All of them ask before any reads.
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            let request = format!("{{'execute':'query-name','id':'{round}.{number}'}}\n");
            client.stream_mut().write_all(request.as_bytes()).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut answers = BufReader::with_capacity(64, client.stream_mut());
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            assert_eq!(
                line,
                format!("{{\"return\": {{}}, \"id\": \"{round}.{number}\"}}\r\n")
            );
        }
    }
    assert_eq!(
        daemon
            .client()
            .execute("query-chardev", Default::default())
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        201
    );
}

#[test]
fn a_monitor_that_floods_and_does_not_read_is_held_back_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flood");
    let device = format!("unix:{},server=on,wait=off", path.display());
    let daemon = Daemon::start(&["-qmp", &device]);
    let mut flood = console(&path);
    flood.write_all(b"{'execute':'qmp_capabilities'}").unwrap();
    let mut other = daemon.client();
    let memory = resident(&daemon);
    flood.set_nonblocking(true).unwrap();
    let one = b"{'execute':'query-commands'}\n";
    let all = one.repeat(1000);
    let (mut sent, mut quiet) = (0, 0);
    // It is taken no more once nothing has gone for as long as the other takes for many answers.
    while quiet < 200 {
        match flood.write(&all[sent % one.len()..]) {
            Ok(count) => (sent, quiet) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => quiet += 1,
            Err(error) => panic!("{error}"),
        }
        let began = Instant::now();
        other.execute("query-name", Default::default()).unwrap();
        assert!(began.elapsed() < DEADLINE / 4, "the other monitor waits");
        assert!(
            sent < 64 << 20,
            "a client that never reads is not held back"
        );
    }
    let grown = resident(&daemon).saturating_sub(memory);
    assert!(
        grown < FLAT,
        "memory grew by {grown} B for {sent} B of commands"
    );
    // Nothing it asked is lost: every command gets its answer once they are read.
    flood.set_nonblocking(false).unwrap();
    let rest = one.len() - (sent - 1) % one.len() - 1;
    let mut writer = flood.try_clone().unwrap();
    let last = one[one.len() - rest..].to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&last).unwrap());
    let mut lines = BufReader::new(flood).lines();
    assert!(lines.next().unwrap().unwrap().contains("QMP"));
    assert_eq!(lines.next().unwrap().unwrap(), "{\"return\": {}}");
    for _ in 0..(sent + rest) / one.len() {
        assert!(lines.next().unwrap().unwrap().contains("chardev-change"));
    }
    writing.join().unwrap();
}

/// A client that writes and reads lines as they are.
struct Raw {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Raw {
    fn negotiated(daemon: &Daemon) -> Self {
        let mut stream = console(daemon.monitor());
        stream.write_all(b"{'execute':'qmp_capabilities'}").unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        let mut raw = Raw { stream, lines };
        assert!(raw.line().contains("QMP"));
        assert_eq!(raw.line(), "{\"return\": {}}\r\n");
        raw
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

/// How much memory the daemon holds.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

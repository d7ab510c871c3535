//! `chardevctl --fleet`, against a cluster of three real servers.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chardev_qapi::Json;

use crate::ctl_rig::{chardevctl, text, wait};
use crate::fleet::servers::{Servers, until};
use crate::fleet::{Feed, Host, expected};

/// Where a line begins that a console prints, so that no two print the same.
const BEGIN: u64 = 1 << 32;

pub(crate) fn ctl(servers: &Servers, arguments: &[&str]) -> Command {
    let mut command = chardevctl();
    command
        .env("CHARDEV_FLEET", servers.addresses("nats").join(","))
        .args(["--cluster", "test", "--stream", "OUT"])
        .args(arguments);
    command
}

pub(crate) fn succeed(servers: &Servers, arguments: &[&str]) -> Vec<u8> {
    let output = ctl(servers, arguments).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    output.stdout
}

/// What is said of a command that fails with that status.
fn fail(command: &mut Command, status: i32) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{command:?}");
    said
}

/// A `chardevctl watch`, which does not outlive the test.
struct Watch(Child);

impl Watch {
    fn start(servers: &Servers, arguments: &[&str]) -> Watch {
        let mut command = ctl(servers, &["watch"]);
        let command = command.args(arguments).stdout(Stdio::piped());
        Watch(command.spawn().unwrap())
    }

    /// Reads that, and nothing else.
    fn read(&mut self, wanted: &[u8]) {
        let mut read = vec![0; wanted.len()];
        self.0
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut read)
            .unwrap();
        assert!(
            read == wanted,
            "{:?} instead of {:?}",
            text(&read[..read.len().min(300)]),
            text(&wanted[..wanted.len().min(300)])
        );
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two hosts, of which the first console of one and the second one of the other have printed.
fn printed(dir: &Path, servers: &Servers) -> ([Host; 2], [Feed; 2]) {
    let hosts = [0, 1].map(|number| Host::start(dir, number, servers));
    let mut feeds = [Feed::new(&hosts[0], 0, 0), Feed::new(&hosts[1], 1, BEGIN)];
    feeds[0].print(5000);
    feeds[1].print(70_000);
    until("all is there", || {
        hosts[0].printed(0).1 == 5000
            && hosts[1].printed(1).1 == 70_000
            && hosts.iter().all(Host::is_up_to_date)
    });
    (hosts, feeds)
}

/// The entry of a console in the list.
fn entry(servers: &Servers, host: &str, console: &str) -> Json {
    let list = text(&succeed(servers, &["list", "--json"]));
    let list = Json::parse(&list).unwrap();
    let is_it = |entry: &&Json| {
        entry.get("host").and_then(Json::as_str) == Some(host)
            && entry.get("console").and_then(Json::as_str) == Some(console)
    };
    let entry = list.as_array().unwrap().iter().find(is_it);
    entry
        .unwrap_or_else(|| panic!("no {host}/{console} in {list}"))
        .clone()
}

#[test]
fn a_fleet_is_listed_watched_and_read_while_a_host_dies_and_returns() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let (mut hosts, mut feeds) = printed(dir.path(), &servers);
    let [first, second] = ["host.0/con0", "host.1/con1"];

    let table = text(&succeed(&servers, &["list"]));
    for (name, count) in [(first, "5000"), (second, "70000")] {
        let mut lines = table.lines().filter(|line| line.starts_with(name));
        let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!((words[3], words[5]), (count, "no"), "{table}");
    }
    let (epoch, _) = hosts[1].printed(1);
    let said = entry(&servers, "host.1", "con1");
    assert_eq!(said.get("epoch").and_then(Json::as_str), Some(&epoch[..]));
    assert_eq!(
        said.get("output-offset").and_then(Json::as_u64),
        Some(70_000)
    );

    let all = expected(BEGIN, 70_000);
    assert!(succeed(&servers, &["history", second]) == all);
    for (from, at) in [
        ("0", 0),
        ("1", 1),
        ("69999", 69_999),
        ("70000", 70_000),
        ("-50", 69_950),
    ] {
        let read = succeed(&servers, &["history", second, "--from", from]);
        assert!(read == all[at..], "{} bytes from {from}", read.len());
    }

    let mut watch = Watch::start(&servers, &[second, "--from=-10"]);
    watch.read(&all[69_990..]);
    feeds[1].print(3000);
    watch.read(&expected(BEGIN, 73_000)[70_000..]);
    until("it is acknowledged", || hosts[1].is_up_to_date());

    hosts[1].daemon.kill();
    assert!(succeed(&servers, &["history", second]) == expected(BEGIN, 73_000));
    assert_eq!(
        entry(&servers, "host.1", "con1")
            .get("ended")
            .and_then(Json::as_bool),
        Some(false)
    );
    hosts[1].daemon = Host::daemon(&hosts[1].dir);
    feeds[1] = Feed::new(&hosts[1], 1, 2 * BEGIN);
    feeds[1].print(4000);
    watch.read(format!("\r\n[chardev {second}: it was begun anew]\r\n").as_bytes());
    watch.read(&expected(2 * BEGIN, 4000));
    assert!(hosts[1].daemon.terminate().0.success());
    watch.read(format!("\r\n[chardev {second}: it has ended at offset 4000]\r\n").as_bytes());

    // All of it can be read while its host is down, and the newest life alone.
    let both = [expected(BEGIN, 73_000), expected(2 * BEGIN, 4000)].concat();
    assert!(succeed(&servers, &["history", second]) == both);
    assert!(succeed(&servers, &["history", second, "--from", "0"]) == both[73_000..]);
    let said = entry(&servers, "host.1", "con1");
    assert_eq!(said.get("ended").and_then(Json::as_bool), Some(true));
    assert_eq!(said.get("output-offset").and_then(Json::as_u64), Some(4000));

    let mut framed = Watch::start(&servers, &[second, "--framed", "--from=-4"]);
    let life = said.get("epoch").and_then(Json::as_str).unwrap();
    framed.read(format!("life {life}\ndata 3996 4\n").as_bytes());
    framed.read(&both[76_996..]);
    framed.read(b"end removed\n");
    let mut whole = Watch::start(&servers, &[second, "--from-start"]);
    whole.read(&both[..73_000]);
    whole.read(format!("\r\n[chardev {second}: it was begun anew]\r\n").as_bytes());
    whole.read(&both[73_000..]);
    // It ends when nobody reads it, although nothing comes.
    drop(watch.0.stdout.take());
    assert!(wait(&mut watch.0).success());
}

#[test]
fn what_is_wrong_with_a_fleet_is_told_by_its_name_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let (hosts, _feeds) = printed(dir.path(), &servers);
    // One that has printed nothing is watched from its first byte on.
    let mut silent = Watch::start(&servers, &["host.0/con2", "--from-start"]);
    Feed::new(&hosts[0], 2, 3 * BEGIN).print(300);
    silent.read(&expected(3 * BEGIN, 300));
    until("all are listed", || {
        let list = text(&succeed(&servers, &["list"]));
        list.lines().filter(|line| line.contains(" up ")).count() == 6
    });
    for (arguments, status, wanted) in [
        (
            &["watch", "host.0/con9"][..],
            1,
            &[
                "host 'host.0' has no console 'con9'",
                "did you mean 'host.0/con0'?",
            ][..],
        ),
        (
            &["history", "host.7/con1"],
            1,
            &[
                "no host 'host.7' in the stream 'OUT'",
                "did you mean 'host.0/con1'?",
            ],
        ),
        (
            &["history", "con1"],
            1,
            &["HOST/CONSOLE", "did you mean 'host.0/con1'?"],
        ),
        (&["history", "nowhere/x"], 1, &["no host 'nowhere'", "list"]),
        (
            &["history", "host.0/con0", "--from", "5001"],
            1,
            &["offset 5001", "5000 bytes"],
        ),
        (
            &["list", "--stream", "GONE"],
            1,
            &["no stream 'GONE'", "--stream NAME"],
        ),
        (
            &["list", "--nkey", "/nonexistent"],
            1,
            &["/nonexistent", "--nkey"],
        ),
        (&["list", "--parts"], 2, &["--parts"]),
        (&["watch", "host.0/con0", "--drop"], 2, &["--drop"]),
        (
            &["attach", "host.0/con0"],
            3,
            &["nobody serves the host 'host.0'", "qmp in [fleet]"],
        ),
        (&["attach", "con0"], 2, &["HOST/CONSOLE", "CHARDEV_FLEET"]),
        (&["quit"], 2, &["--on HOST", "CHARDEV_FLEET"]),
    ] {
        let mut command = ctl(&servers, &[]);
        if arguments.contains(&"--stream") {
            command = chardevctl();
            command.env("CHARDEV_FLEET", servers.addresses("nats").join(","));
        }
        let said = fail(command.args(arguments), status);
        for wanted in wanted {
            assert!(
                said.contains(wanted),
                "{arguments:?} without {wanted}: {said}"
            );
        }
    }

    let fleet = servers.addresses("nats").join(",");
    let line = [
        "chardevctl",
        "--fleet",
        &fleet,
        "--cluster",
        "test",
        "--stream",
        "OUT",
        "watch",
        "",
    ];
    let all = [0, 1].map(|host| [0, 1, 2].map(|console| format!("host.{host}/con{console}")));
    assert_eq!(completed(&line), all.concat());
    let mut on = line.to_vec();
    on.insert(7, "--on");
    on.insert(8, "");
    on.truncate(9);
    assert_eq!(completed(&on), ["host.0", "host.1"]);
    on[8] = "host.1";
    on.extend(["attach", ""]);
    assert_eq!(completed(&on), ["con0", "con1", "con2"]);
}

#[test]
fn what_a_console_has_printed_is_played_as_it_happened_also_while_its_host_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let mut host = Host::start(dir.path(), 1, &servers);
    let mut feed = Feed::new(&host, 1, BEGIN);
    feed.print(1000);
    until("it is in the stream", || {
        host.printed(1).1 == 1000 && host.is_up_to_date()
    });
    let (printed, pause) = (Instant::now(), Duration::from_secs(2));
    until("some time has passed", || printed.elapsed() >= pause);
    feed.print(500);
    until("it is in the stream", || {
        host.printed(1).1 == 1500 && host.is_up_to_date()
    });
    host.daemon.kill();

    let all = expected(BEGIN, 1500);
    let name = "host.1/con1";
    let play = |arguments: &[&str]| succeed(&servers, &[&["play"], arguments].concat());
    let began = Instant::now();
    assert!(play(&[name]) == all);
    // The stream was given it later than it was printed, but not by that much.
    assert!(began.elapsed() >= pause / 2, "{:?}", began.elapsed());
    assert!(play(&[name, "--speed", "1000"]) == all);
    assert!(play(&["con1", "--on", "host.1", "--idle-limit", "0"]) == all);
    assert!(play(&[name, "--from", "@300", "--idle-limit", "0"]) == all[300..]);
    assert!(play(&[name, "--from", "1"]) == all[1000..]);

    // A file is one as well where the fleet is from the environment.
    let cast = dir.path().join("a.cast");
    std::fs::write(&cast, "{\"version\": 2}\n[0, \"o\", \"hello\"]\n").unwrap();
    assert_eq!(play(&[cast.to_str().unwrap()]), b"hello");
    for (arguments, words) in [
        (&["play", "host.1/con9"][..], "did you mean"),
        (&["play", name, "--index", "x"], "leave it out"),
        (&["play", name, "--from", "@9999"], "1500"),
        (&["play", "no.cast"], "No such file"),
    ] {
        let output = ctl(&servers, arguments).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}

#[test]
fn a_fleet_that_is_away_is_told_at_once_and_holds_up_no_shell() {
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("nats://{}", free.local_addr().unwrap());
    drop(free);
    let said = fail(chardevctl().args(["--fleet", &address, "list"]), 3);
    assert!(
        said.contains(&format!("no server answers at {address}")),
        "{said}"
    );
    let said = fail(chardevctl().args(["--fleet", "http://x", "list"]), 2);
    assert!(said.contains("'http://x' is no server"), "{said}");
    let said = fail(chardevctl().args(["--fleet", &address, "play", "x/y"]), 3);
    assert!(said.contains("no server answers"), "{said}");
    let said = fail(chardevctl().args(["--fleet", &address, "import", "x"]), 2);
    assert!(said.contains("without --fleet"), "{said}");
    assert!(completed(&["chardevctl", "--fleet", &address, "watch", ""]).is_empty());

    // One that takes a connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("nats://{}", silent.local_addr().unwrap());
    assert!(completed(&["chardevctl", "--fleet", &address, "watch", ""]).is_empty());
    let list = ["--fleet", &address, "--timeout", "0.5", "list"];
    let said = fail(chardevctl().args(list), 4);
    assert!(said.contains("not answered within 0.5 s"), "{said}");
}

/// What a shell is told that the last word of a line may be, options left out.
fn completed(line: &[&str]) -> Vec<String> {
    let mut command = chardevctl();
    command
        .env("CHARDEVCTL_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", (line.len() - 1).to_string());
    let output = command.arg("--").args(line).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let words = said.lines().filter(|word| !word.starts_with('-'));
    words.map(str::to_owned).collect()
}

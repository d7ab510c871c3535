//! Tokens: made, presented over TCP, removed, guessed; and those who present none.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chardev_qapi::Json;
use rustix::net::{AddressFamily, SocketType};

use crate::ctl_rig::{LIMIT, chardevctl, text, until};
use crate::ended::Ended;
use crate::tcp_rig;
use crate::web_rig::{Browser, Told};

/// Two consoles, of which one is in group `a`; a monitor for root, and one that asks who comes.
const FILE: &str = "
    [console.a1]\nto = 'ringbuf'\nexec = 'cat'\ngroups = ['a']\n
    [console.b1]\nto = 'ringbuf'\nexec = 'cat'\n
    [tokens]\nfile = 'tokens'\n
    [[monitor]]\nlisten = 'unix:qmp,server=on,wait=off,x-clients=0'\n
    [[monitor]]\nlisten = 'tcp:127.0.0.1:0'\n";

pub(crate) struct Daemon {
    child: Ended,
    dir: tempfile::TempDir,
    port: u16,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, port) = tcp_rig::start(dir.path(), FILE);
        Daemon { child, dir, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.path("said")).unwrap()
    }

    /// As root, over the socket.
    fn ctl(&self, args: &[&str]) -> (bool, String, String) {
        let mut ctl = chardevctl();
        ctl.arg("--socket").arg(self.path("qmp"));
        run(ctl, args)
    }

    /// Over TCP, with the token in this file.
    fn remote(&self, file: Option<&Path>, args: &[&str]) -> (bool, String, String) {
        let mut ctl = chardevctl();
        ctl.args(["--host", &format!("127.0.0.1:{}", self.port)]);
        if let Some(file) = file {
            ctl.arg("--token-file").arg(file);
        }
        run(ctl, args)
    }

    /// Makes a token, and a file with it.
    fn token(&self, name: &str, args: &[&str]) -> (String, PathBuf) {
        let args = [&["token", "add", name][..], args].concat();
        let (made, token, said) = self.ctl(&args);
        assert!(made && said.contains("not shown again"), "{said}");
        let file = self.path(&format!("{name}.token"));
        std::fs::write(&file, &token).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        (token.trim().to_owned(), file)
    }

    fn client(&self, from: u8) -> Client {
        Client::connect(self.port, from).expect("it is greeted")
    }

    fn descriptors(&self) -> usize {
        let fds = format!("/proc/{}/fd", self.child.0.id());
        std::fs::read_dir(fds).unwrap().count()
    }
}

fn run(mut ctl: Command, args: &[&str]) -> (bool, String, String) {
    ctl.args(["--timeout", &LIMIT.as_secs().to_string()])
        .args(args);
    let output = ctl.stdin(Stdio::null()).output().unwrap();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Connects from 127.0.0.`from`.
fn connect(port: u16, from: u8) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let own = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, from), 0);
    rustix::net::bind(&socket, &own).unwrap();
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Somebody who has negotiated.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16, from: u8) -> Option<Self> {
        let mut client = Client(BufReader::new(connect(port, from)));
        client.next()?.get("QMP")?;
        client.ask("qmp_capabilities", "{}")?;
        Some(client)
    }

    fn next(&mut self) -> Option<Json> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        Json::parse(line.trim_end()).ok()
    }

    fn ask(&mut self, command: &str, arguments: &str) -> Option<Json> {
        let line = format!("{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n");
        self.0.get_mut().write_all(line.as_bytes()).ok()?;
        loop {
            let said = self.next()?;
            if said.get("event").is_none() {
                return Some(said);
            }
        }
    }

    /// What it is told about `token`.
    fn present(&mut self, token: &str) -> String {
        let answer = self.ask("x-authenticate", &format!("{{\"token\":\"{token}\"}}"));
        answer.expect("it is answered").to_string()
    }

    fn may(&mut self, command: &str, arguments: &str) -> bool {
        let answer = self.ask(command, arguments).expect("it is answered");
        answer.get("return").is_some()
    }
}

#[test]
fn a_token_is_made_used_over_tcp_listed_and_removed() {
    let daemon = Daemon::start();
    let (made, file) = daemon.token("lab1", &["--role", "attach", "--console", "a"]);
    assert!(made.starts_with("chardev_") && made.len() == 72, "{made}");
    let (_, listed, _) = daemon.ctl(&["token", "list"]);
    assert!(
        listed.contains("lab1") && listed.contains("attach"),
        "{listed}"
    );
    let kept = std::fs::read_to_string(daemon.path("tokens")).unwrap();
    for text in [&kept, &listed, &daemon.said()] {
        assert!(!text.contains(&made[8..]), "{text}");
    }
    let mode = daemon
        .path("tokens")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (seen, list, why) = daemon.remote(Some(&file), &["list"]);
    assert!(
        seen && list.contains("a1") && !list.contains("b1"),
        "{list}{why}"
    );
    assert!(daemon.remote(Some(&file), &["break", "a1"]).0);
    let (sent, _, why) = daemon.remote(Some(&file), &["change", "a1", "null"]);
    assert!(
        !sent && why.contains("'change' for 'a1', which token lab1 (127.0.0.1"),
        "{why}"
    );
    let (sent, _, why) = daemon.remote(None, &["list"]);
    assert!(!sent && why.contains("--token-file"), "{why}");
    let said = daemon.said();
    for line in [
        "token lab1 (127.0.0.1",
        "send a break to 'a1'",
        "may not change 'a1'",
        "token-added token lab1",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let mut client = daemon.client(1);
    assert!(client.present(&made).contains("\"lab1\""));
    let history = "{\"id\":\"a1\"}";
    assert!(client.may("x-chardev-history", history));
    assert!(daemon.ctl(&["token", "remove", "lab1"]).0);
    assert!(!client.may("x-chardev-history", history));
    assert!(!client.may("query-fdsets", "{}"));
    assert!(!client.present(&made).contains("lab1"));
    let (gone, _, why) = daemon.ctl(&["token", "remove", "lab1"]);
    assert!(!gone && why.contains("no token 'lab1'"), "{why}");
}

#[test]
fn a_token_is_for_what_there_is_and_for_a_time_to_come() {
    let daemon = Daemon::start();
    for (args, why) in [
        (
            &["x", "--role", "view", "--console", "a2"][..],
            "no console or group 'a2'",
        ),
        (&["x y", "--role", "view"], "letters, digits"),
        (&["x", "--role", "root"], "view, attach, change, admin"),
        (
            &["x", "--role", "view", "--expires", "1999-01-32"],
            "is no time",
        ),
        (
            &["x", "--role", "view", "--expires", "2001-01-01"],
            "a time to come",
        ),
    ] {
        let (made, _, said) = daemon.ctl(&[&["token", "add"][..], args].concat());
        assert!(!made && said.contains(why), "{args:?}: {said}");
    }
    daemon.token("x", &["--role", "view", "--expires", "never"]);
    let (made, _, said) = daemon.ctl(&["token", "add", "x", "--role", "view"]);
    assert!(
        !made && said.contains("there is a token 'x' already"),
        "{said}"
    );
    // Three seconds, in which a busy machine can use it, and who is there loses it as well.
    let arguments = "{\"name\":\"y\",\"role\":\"view\",\"lifetime\":3}";
    let (_, answer, _) = daemon.ctl(&["qmp", "x-token-add", arguments]);
    let answer = Json::parse(&answer).unwrap();
    let token = answer.get("token").and_then(Json::as_str).unwrap();
    let mut client = daemon.client(1);
    assert!(client.present(token).contains("\"y\""));
    until("it has expired", || !client.may("query-fdsets", "{}"));
    assert!(
        daemon
            .client(1)
            .present(token)
            .contains("token 'y' has expired")
    );
}

#[test]
fn who_presents_nothing_may_do_nothing_and_is_not_kept_for_long() {
    let daemon = Daemon::start();
    let (token, _) = daemon.token("t", &["--role", "admin"]);
    let mut client = daemon.client(1);
    let answer = client.ask("query-commands", "{}").unwrap().to_string();
    assert!(answer.contains("x-authenticate"), "{answer}");
    for command in [
        "query-chardev",
        "query-version",
        "query-qmp-schema",
        "quit",
        "getfd",
        "x-monitor-add",
        "x-token-add",
    ] {
        assert!(!client.may(command, "{}"), "{command}");
    }
    // What comes behind the token, in one write, is looked at with its rights.
    let line = format!(
        "{{\"execute\":\"x-authenticate\",\"arguments\":{{\"token\":\"{token}\"}}}}{{\"execute\":\"query-version\"}}\n"
    );
    client.0.get_mut().write_all(line.as_bytes()).unwrap();
    for _ in 0..2 {
        let said = client.next().unwrap();
        assert!(said.get("return").is_some(), "{said}");
    }
    assert!(client.may("query-chardev", "{}"));
    // Too much for a stranger.
    let mut long = daemon.client(1);
    let _ = long.0.get_mut().write_all(&vec![b'['; 100 << 10]);
    assert_eq!(long.next(), None);
}

/// Thousand connections that say nothing, and half of them not even hear; somebody else comes in.
#[test]
fn a_thousand_silent_connections_cost_little_and_keep_nobody_out() {
    let daemon = Daemon::start();
    let (token, _) = daemon.token("t", &["--role", "view"]);
    let before = daemon.descriptors();
    let mut crowd = Vec::new();
    for number in 0..1000 {
        crowd.push(connect(daemon.port, 66));
        if number % 100 == 50 {
            let begun = Instant::now();
            assert!(daemon.client(2).present(&token).contains("\"t\""));
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        }
    }
    until("most of them are gone", || {
        daemon.descriptors() < before + 200
    });
    assert!(daemon.client(2).present(&token).contains("\"t\""));
    assert!(daemon.ctl(&["list"]).0);
    drop(crowd);
}

/// From one address over many connections at once, from which each is left after one guess.
#[test]
fn a_thousand_guesses_are_slowed_and_told_in_few_lines() {
    let daemon = Daemon::start();
    let (token, _) = daemon.token("t", &["--role", "view"]);
    let port = daemon.port;
    let guess = move |first: u32| {
        let mut looked_at = 0;
        for number in 0..125 {
            // It may have lost its place to the others from there.
            let Some(mut client) = Client::connect(port, 66) else {
                continue;
            };
            let wrong = format!("{{\"token\":\"chardev_{:064x}\"}}", first + number);
            let told = client.ask("x-authenticate", &wrong);
            let told = told.map_or_else(String::new, |told| told.to_string());
            looked_at += u32::from(told.contains("no such token"));
        }
        looked_at
    };
    let begun = Instant::now();
    let guessing: Vec<_> = (0..8)
        .map(|part| std::thread::spawn(move || guess(part * 1000)))
        .collect();
    while guessing.iter().any(|thread| !thread.is_finished()) {
        let mut client = daemon.client(2);
        assert!(client.present(&token).contains("\"t\""));
        assert!(client.may("query-fdsets", "{}"));
    }
    let looked_at: u32 = guessing
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    // 125 one after the other, each but a few told only after a tenth of a second.
    assert!(
        begun.elapsed() >= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    // Three, and one after each pause: half a second, one, two, four …
    let pauses = (begun.elapsed().as_secs_f64() / 0.5 + 1.0).log2() as u32;
    assert!(
        looked_at <= 4 + pauses,
        "{looked_at} in {:?}",
        begun.elapsed()
    );
    let mut client = daemon.client(66);
    assert!(client.present("swordfish").contains("try again in"));
    assert!(
        client.present(&token).contains("\"t\""),
        "a right one from there does not have to wait"
    );
    let said = daemon.said();
    let lines = said.lines().filter(|line| line.contains("wrong tokens"));
    assert!((1..=6).contains(&lines.count()), "{said}");
    assert!(
        said.contains("127.0.0.66 has presented 100 wrong tokens"),
        "{said}"
    );
}

#[test]
fn where_tokens_cannot_be_kept_all_is_as_it_was() {
    let daemon = Daemon::start();
    let (token, _) = daemon.token("old", &["--role", "view"]);
    // In the way of the new file, also for root.
    std::fs::create_dir_all(daemon.path("tokens.new/x")).unwrap();
    let (made, _, why) = daemon.ctl(&["token", "add", "new", "--role", "view"]);
    assert!(!made && why.contains("as they were"), "{why}");
    assert!(!daemon.ctl(&["token", "remove", "old"]).0);
    assert!(daemon.client(1).present(&token).contains("\"old\""));
    std::fs::remove_dir_all(daemon.path("tokens.new")).unwrap();
    assert!(daemon.ctl(&["token", "add", "new", "--role", "view"]).0);
    // A file that others can change is not taken, and a reload is refused.
    let file = daemon.path("tokens");
    let set = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    set(0o622);
    let (reloaded, _, why) = daemon.ctl(&["reload"]);
    assert!(!reloaded && why.contains("chmod 600"), "{why}");
    set(0o600);
    assert!(daemon.ctl(&["reload"]).0);
    assert!(daemon.client(1).present(&token).contains("\"old\""));
    std::os::unix::fs::chown(&file, Some(4711), None).unwrap();
    let (reloaded, _, why) = daemon.ctl(&["reload"]);
    assert!(!reloaded && why.contains("belongs to user 4711"), "{why}");
    std::fs::write(daemon.path("tokens"), "{}").unwrap();
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    let (reloaded, _, why) = daemon.ctl(&["reload"]);
    assert!(!reloaded && why.contains("damaged"), "{why}");
}

#[test]
fn a_reload_that_takes_the_tokens_away_takes_their_rights() {
    let daemon = Daemon::start();
    let (token, _) = daemon.token("t", &["--role", "view"]);
    let mut client = daemon.client(1);
    assert!(client.present(&token).contains("\"t\""));
    let file = daemon.path("c.toml");
    // The monitor asks for them, so that is refused.
    let without = FILE.replace("[tokens]\nfile = 'tokens'\n", "");
    std::fs::write(&file, &without).unwrap();
    let (reloaded, _, why) = daemon.ctl(&["reload"]);
    assert!(!reloaded && why.contains("[tokens]"), "{why}");
    assert!(client.may("query-fdsets", "{}"));
    let open = without.replace("tcp:127.0.0.1:0'", "tcp:127.0.0.1:0'\nrole = 'view'");
    std::fs::write(&file, &open).unwrap();
    let (reloaded, _, why) = daemon.ctl(&["reload"]);
    assert!(reloaded, "{why}");
    assert!(
        !client.may("query-fdsets", "{}"),
        "it is worth less than none"
    );
    let (made, _, why) = daemon.ctl(&["token", "add", "new", "--role", "view"]);
    assert!(!made && why.contains("[tokens]"), "{why}");
}

/// The same over the web page, whose streams look and type.
#[test]
fn a_stream_of_the_web_page_ends_with_the_token_it_lives_by() {
    let daemon = Daemon::start();
    let (_, file) = daemon.token("t", &["--role", "attach", "--console", "a"]);
    let (_, link, why) = daemon.remote(Some(&file), &["web", "--print"]);
    let rest = link.trim_end().strip_prefix("http://");
    let (address, code) = rest.and_then(|it| it.split_once("/login#")).expect(&why);
    let mut browser = Browser {
        address: address.parse().unwrap(),
        cookie: None,
    };
    assert_eq!(browser.log_in("code", code).status, 200);
    let mut streams = ["mode=watch", "mode=share"].map(|mode| browser.stream("a1", mode));
    assert!(daemon.ctl(&["token", "remove", "t"]).0);
    for stream in &mut streams {
        // It may be told of other things first.
        let reason = loop {
            if let Told::End(reason) = stream.next() {
                break reason;
            }
        };
        assert_eq!(reason.as_deref(), Some("forbidden"));
    }
}

/// A viewer asks for nothing any more, so nobody else would find out.
#[test]
fn who_looks_on_by_a_token_sees_nothing_after_it() {
    let daemon = Daemon::start();
    let watch = |file: &Path, more: &[&str]| {
        let mut ctl = chardevctl();
        ctl.args(["--host", &format!("127.0.0.1:{}", daemon.port)]);
        ctl.arg("--token-file").arg(file);
        let child = ctl
            .args(["watch", "a1"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Ended(child)
    };
    let viewers = || {
        let (_, stats, _) = daemon.ctl(&["qmp", "x-query-chardev-stats", "{\"id\":\"a1\"}"]);
        let stats = Json::parse(&stats).unwrap();
        stats.as_array().unwrap()[0]
            .get("viewers")
            .and_then(Json::as_u64)
    };
    let (_, first) = daemon.token("first", &["--role", "attach", "--console", "a"]);
    let (_, second) = daemon.token("second", &["--role", "view"]);
    let mut goes = [watch(&first, &[]), watch(&first, &["--framed"])];
    let mut stays = watch(&second, &[]);
    until("all are there", || viewers() == Some(3));
    // Less than before, but enough for this.
    daemon.token("third", &["--role", "view"]);
    assert!(daemon.ctl(&["token", "remove", "third"]).0);
    assert!(daemon.ctl(&["token", "remove", "first"]).0);
    for child in &mut goes {
        until("it is gone", || child.0.try_wait().unwrap().is_some());
        let mut said = String::new();
        let mut stderr = child.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        assert!(
            said.contains("a1: you may not look at it any more"),
            "{said}"
        );
    }
    let mut framed = String::new();
    let mut stdout = goes[1].0.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut framed).unwrap();
    assert_eq!(framed, "end revoked\n");
    assert_eq!(viewers(), Some(1));
    assert_eq!(stays.0.try_wait().unwrap(), None);
    let said = daemon.said();
    assert!(said.contains("may not look at 'a1' any more"), "{said}");
}

/// Alone and beside others; whoever has another token stays.
#[test]
fn who_is_attached_by_a_token_leaves_with_it() {
    let daemon = Daemon::start();
    let attach = |file: &Path, more: &[&str]| {
        let mut ctl = chardevctl();
        ctl.arg("--socket").arg(daemon.path("qmp"));
        ctl.arg("--token-file").arg(file);
        let child = ctl
            .args(["attach", "a1"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Ended(child)
    };
    let attached = || {
        let (_, stats, _) = daemon.ctl(&["qmp", "x-query-chardev-stats", "{\"id\":\"a1\"}"]);
        stats.matches("\"mode\"").count()
    };
    let (_, first) = daemon.token("first", &["--role", "attach"]);
    let (_, second) = daemon.token("second", &["--role", "attach", "--console", "a1"]);
    let (_, third) = daemon.token("third", &["--role", "view"]);
    let mut alone = attach(&first, &[]);
    until("the first is there", || attached() == 1);
    let mut shares = attach(&second, &["--share"]);
    until("the second is there", || attached() == 2);
    let mut looks = attach(&third, &["--read-only"]);
    until("the third is there", || attached() == 3);
    for (name, child, left) in [("second", &mut shares, 2), ("first", &mut alone, 1)] {
        assert!(daemon.ctl(&["token", "remove", name]).0);
        until("it is gone", || child.0.try_wait().unwrap().is_some());
        let mut said = String::new();
        let mut stderr = child.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        assert!(
            said.contains("may not be attached to it any more"),
            "{name}: {said}"
        );
        until("the others stay", || attached() == left);
    }
    assert_eq!(looks.0.try_wait().unwrap(), None);
    assert!(
        daemon.said().contains("token first (chardevctl"),
        "{}",
        daemon.said()
    );
}

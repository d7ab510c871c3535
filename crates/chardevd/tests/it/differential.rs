//! The same input to a real QEMU and to the daemon, and the same answers from both.
//!
//! `differential/*.script` holds the input. A line begins with what it is:
//!
//! ```text
//! # comment
//! = TAG    the answers to the next input differ as docs/qemu-differences.md says under that tag
//! > BYTES  input; \xNN is a byte, $DIR a directory of the server's own
//! ~ BYTES  input after which the parser needs a fresh start
//! ! LINE   a line for the human monitor, by way of human-monitor-command
//! $ WORDS  a command line that must be refused, with the same words on standard error
//! @ ACCESS a descriptor goes along with the next input (SCM_RIGHTS), for r, w or rw: of /dev/null,
//!          or for w, because that can be truncated, of a file; or it is one end of a socket
//! ```
//!
//! Every script is run twice with servers of its own: each input in one piece, and byte by byte.
//! Before answers are compared only what must differ is named: versions, numbers of terminals,
//! ports and descriptors, times, and the directory.

use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::daemon_rig::{DEADLINE, console, read_until};
use crate::qemu_rig::qemu10;
use chardev_qapi::Json;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tempfile::TempDir;

/// The least number of inputs that makes a comparison worth its name.
const ENOUGH: usize = 400;

/// One input.
#[derive(Clone, Debug)]
struct Case {
    at: String,
    tag: Option<String>,
    input: String,
    needs_fresh_start: bool,
    /// The access that a descriptor is sent for, or `socket`.
    fd_for: Option<String>,
}

/// A difference that is on the list.
#[derive(Debug)]
struct Listed {
    qemu: String,
    here: String,
}

#[test]
fn the_protocol() {
    compare("protocol", 130);
}

#[test]
fn arguments() {
    compare("arguments", 150);
}

#[test]
fn back_ends() {
    compare("backends", 90);
}

#[test]
fn the_human_monitor() {
    compare("human", 80);
}

/// Scripts do this: `echo … | socat - UNIX:…`.
#[test]
fn a_client_that_ends_its_sending_has_all_its_answers() {
    let names = "{'execute': 'query-name'}\n".repeat(500);
    let input = format!("{{'execute': 'qmp_capabilities'}}\n{names}{{'execute': 'quit'}}");
    let answers = [Server::qemu(), Server::chardevd()].map(|server| {
        let mut stream = &server.stream;
        stream.write_all(input.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let answers = said.lines().filter(|line| line.contains("return"));
        answers.collect::<Vec<_>>().join("\n")
    });
    assert_eq!(answers[0].lines().count(), 502, "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn the_command_line() {
    let cases = script("command-line");
    assert!(cases.len() >= 30, "only {} command lines", cases.len());
    let list = listed();
    let mut wrong = Vec::new();
    for case in &cases {
        let qemu = refusal(qemu10(), "qemu-system-x86_64", &case.input);
        let here = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        let here = refusal(here, "chardevd", &case.input);
        if let Err(error) = judge(case, &qemu, &here, &list) {
            wrong.push(format!(
                "{}: {error}\n  {}\n  QEMU  {qemu}\n  here  {here}",
                case.at, case.input
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Runs a program that must end by itself, and returns its exit status and what it said, without
/// its name and the repeated name of the option.
fn refusal(mut command: Command, program: &str, words: &str) -> String {
    let program = format!("{program}: ");
    command.args(words.split_whitespace()).stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            return "it does not end".to_owned();
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or_default();
    let option = first
        .trim_start_matches(&program)
        .split(": ")
        .next()
        .unwrap_or_default();
    let lines = said.lines().map(|line| {
        let line = line.trim_start_matches(&program);
        line.trim_start_matches(&format!("{option}: "))
            .trim_end()
            .to_owned()
    });
    format!(
        "{:?} {option}: {}",
        output.status.code(),
        lines.collect::<Vec<_>>().join("\n")
    )
}

#[test]
fn there_are_enough_inputs_and_every_listed_difference_is_seen() {
    let scripts = ["protocol", "arguments", "backends", "human", "command-line"];
    let cases: Vec<Case> = scripts.iter().flat_map(|name| script(name)).collect();
    assert!(cases.len() >= ENOUGH, "only {} inputs", cases.len());
    let list = listed();
    for tag in list.keys() {
        let used = cases.iter().any(|case| case.tag.as_ref() == Some(tag));
        assert!(
            used,
            "no input shows the listed difference {tag}: take it off the list"
        );
    }
}

/// Runs a script in both ways against both servers.
fn compare(name: &str, at_least: usize) {
    let cases = script(name);
    assert!(
        cases.len() >= at_least,
        "{name}: only {} inputs",
        cases.len()
    );
    let list = listed();
    let mut wrong = Vec::new();
    for piecewise in [false, true] {
        let mut qemu = Server::qemu();
        let mut here = Server::chardevd();
        for (number, case) in cases.iter().enumerate() {
            let qemu = qemu.ask(case, number, piecewise);
            let here = here.ask(case, number, piecewise);
            if let Err(error) = judge(case, &qemu, &here, &list) {
                wrong.push(format!(
                    "{} {}: {error}\n  input {}\n  QEMU  {qemu}\n  here  {here}",
                    case.at,
                    if piecewise { "(byte by byte)" } else { "" },
                    case.input
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn judge(
    case: &Case,
    qemu: &str,
    here: &str,
    list: &BTreeMap<String, Listed>,
) -> Result<(), String> {
    let Some(tag) = &case.tag else {
        return match qemu == here {
            true => Ok(()),
            false => Err("not on the list of docs/qemu-differences.md".to_owned()),
        };
    };
    let listed = list.get(tag);
    let listed = listed.ok_or_else(|| format!("{tag} is not in docs/qemu-differences.md"))?;
    if qemu == here {
        return Err(format!("does not differ any more: take {tag} off the list"));
    }
    match (qemu.contains(&listed.qemu), here.contains(&listed.here)) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("the list says of QEMU: {}", listed.qemu)),
        (_, false) => Err(format!("the list says of us: {}", listed.here)),
    }
}

/// One of the two servers.
struct Server {
    child: Child,
    dir: TempDir,
    stream: UnixStream,
    /// Our ends of the sockets it was given.
    peers: Vec<UnixStream>,
}

impl Server {
    fn qemu() -> Self {
        // Once in some hundred starts QEMU greets a client twice that comes while it sets its
        // monitor up.
        Server::start(qemu10()).0
    }

    fn chardevd() -> Self {
        let (server, said) = Server::start(Command::new(env!("CARGO_BIN_EXE_chardevd")));
        assert_eq!(said, "", "after the greeting");
        server
    }

    /// Starts a server and reads its greeting; also returns what else it says unasked.
    fn start(mut command: Command) -> (Self, String) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        command.arg("-qmp");
        command.arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(["-name", "vm"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{program}: {error}: run ./setup");
        });
        let mut stream = console(&socket);
        read_until(&mut stream, "\r\n");
        let mut server = Server {
            child,
            dir,
            stream,
            peers: Vec::new(),
        };
        let said = server.probe("start", b"");
        (server, said)
    }

    /// Sends an input and returns everything that is said before the answer to a probe after it.
    fn ask(&mut self, case: &Case, number: usize, piecewise: bool) -> String {
        let dir = self.dir.path().display().to_string();
        let input = bytes(&case.input.replace("$DIR", &dir));
        let mut rest = &input[..];
        if let Some(access) = &case.fd_for {
            self.send_with_fd(&input[..1], access);
            rest = &input[1..];
        }
        let size = if piecewise { 1 } else { rest.len().max(1) };
        for piece in rest.chunks(size) {
            self.stream.write_all(piece).unwrap();
        }
        let fresh: &[u8] = if case.needs_fresh_start {
            b"\xff\n"
        } else {
            b"\n"
        };
        let said = self.probe(&format!("probe {number}"), fresh);
        name_what_must_differ(&said, &dir)
    }

    /// Sends `fresh` and a command there is not, and returns what comes before the answer to that.
    fn probe(&mut self, probe: &str, fresh: &[u8]) -> String {
        self.stream.write_all(fresh).unwrap();
        let request = format!("{{'execute': 'probe', 'id': '{probe}'}}\n");
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        loop {
            let line = read_until(&mut self.stream, "\r\n");
            if line.contains(probe) {
                return said;
            }
            said.push_str(&line);
        }
    }

    fn send_with_fd(&mut self, bytes: &[u8], access: &str) {
        let given = self.descriptor(access);
        let fds = [given.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let bytes = [IoSlice::new(bytes)];
        sendmsg(&self.stream, &bytes, &mut ancillary, SendFlags::empty()).unwrap();
    }

    fn descriptor(&mut self, access: &str) -> OwnedFd {
        if access == "socket" {
            let (ours, theirs) = UnixStream::pair().unwrap();
            self.peers.push(ours);
            return theirs.into();
        }
        let path = match access {
            "w" => self.dir.path().join("given"),
            _ => PathBuf::from("/dev/null"),
        };
        let given = std::fs::File::options()
            .read(access.contains('r'))
            .write(access.contains('w'))
            .create(access == "w")
            .open(path);
        given.unwrap().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts a name in the place of everything that differs between two runs of the same server.
fn name_what_must_differ(said: &str, dir: &str) -> String {
    let mut text = said.replace(dir, "$DIR");
    for (before, name) in [
        ("/dev/pts/", "PTS"),
        ("\"seconds\": ", "TIME"),
        ("\"microseconds\": ", "TIME"),
        ("\"fd\": ", "FD"),
        ("tcp:127.0.0.1:", "PORT"),
        ("telnet:127.0.0.1:", "PORT"),
    ] {
        text = name_numbers(&text, before, name);
    }
    let lines = text.split_inclusive("\r\n").map(|line| {
        let line = &in_order(line);
        let Ok(Json::Object(mut answer)) = Json::parse(line.trim_end()) else {
            return line.to_owned();
        };
        let version = answer
            .get("return")
            .is_some_and(|value| value.get("qemu").is_some());
        if version {
            answer.insert("return", "VERSION");
            return format!("{}\r\n", Json::Object(answer));
        }
        line.to_owned()
    });
    lines.collect()
}

/// Lists of objects have no order, neither as values nor as lines for people.
fn in_order(line: &str) -> String {
    let Ok(Json::Object(mut answer)) = Json::parse(line.trim_end()) else {
        return line.to_owned();
    };
    match answer.get("return") {
        Some(Json::Array(items)) if items.iter().all(|item| item.as_object().is_some()) => {
            let mut items = items.clone();
            items.sort_by_key(Json::to_string);
            answer.insert("return", Json::Array(items));
        }
        Some(Json::Str(text)) if text.contains(": filename=") => {
            let mut lines: Vec<&str> = text.split_inclusive("\r\n").collect();
            lines.sort_unstable();
            let sorted = lines.concat();
            answer.insert("return", sorted);
        }
        _ => return line.to_owned(),
    }
    format!("{}\r\n", Json::Object(answer))
}

/// Puts `name` in the place of every number that follows `before`.
fn name_numbers(text: &str, before: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        out.push_str(head);
        rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() < tail.len() {
            out.push_str(name);
        }
    }
    out + rest
}

/// The table with the columns *tag*, *QEMU*, *here* in docs/qemu-differences.md.
fn listed() -> BTreeMap<String, Listed> {
    let path = root().join("docs/qemu-differences.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text
        .split_once("<!-- the differential test reads this table: begin -->")
        .expect("the table of the differential test");
    let (table, _) = table
        .split_once("<!-- end -->")
        .expect("the end of the table");
    let mut list = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [tag, qemu, here, why] = cells[..] else {
            panic!("four columns wanted: {row}");
        };
        assert!(!why.is_empty(), "{tag}: no reason");
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        let listed = Listed {
            qemu: plain(qemu),
            here: plain(here),
        };
        assert!(list.insert(tag.to_owned(), listed).is_none(), "{tag} twice");
    }
    list
}

fn script(name: &str) -> Vec<Case> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/differential/{name}.script"));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut cases = Vec::new();
    let (mut tag, mut fd_for) = (None, None);
    for (number, line) in text.lines().enumerate() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let input = match mark {
            "" | "#" => continue,
            "=" => {
                tag = Some(rest.trim().to_owned());
                continue;
            }
            "@" => {
                fd_for = Some(rest.to_owned());
                continue;
            }
            ">" | "~" | "$" => rest.to_owned(),
            "!" => {
                let line = Json::from(rest.replace("\\n", "\n")).to_string();
                format!(
                    "{{'execute': 'human-monitor-command', 'arguments': {{'command-line': {line}}}}}"
                )
            }
            _ => panic!("{name}:{}: unknown mark {mark}", number + 1),
        };
        cases.push(Case {
            at: format!("{name}.script:{}", number + 1),
            tag: tag.take(),
            input,
            needs_fresh_start: mark == "~",
            fd_for: fd_for.take(),
        });
    }
    cases
}

/// The bytes of an input: `\xNN` is one, everything else stands for itself.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let digits = rest.get(at + 2..at + 4);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        match byte {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(b"\\x"),
        }
        rest = &rest[at + if byte.is_some() { 4 } else { 2 }..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

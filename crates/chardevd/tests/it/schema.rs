//! What `query-qmp-schema` says of the commands QEMU has, against what QEMU itself says.
//!
//! Types are compared by what they are made of, since their names are numbers without meaning.
//! Every difference is named here with its reason, and one that does not occur is an error.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::daemon_rig::Daemon;
use crate::qemu_rig;
use chardev_qapi::{Json, Object};

/// Where the two differ: a line that only one of them has, and why.
const ONLY_QEMU: &[(&str, &str)] = &[
    (".backend.type=braille", "needs BrlAPI, not in this build"),
    ("json-cli", "-device takes no JSON here"),
    (".backend.type=spicevmc", "needs SPICE, not in this build"),
    (".backend.type=spiceport", "needs SPICE, not in this build"),
    (
        ".backend.type=qemu-vdagent",
        "needs SPICE, not in this build",
    ),
];
const ONLY_HERE: &[(&str, &str)] = &[
    (".data.x-", "ours"),
    (".backend.type=x-", "ours"),
    ("device_add: command", "without QEMU's features, see above"),
];

/// The kinds of back ends that QEMU has and this build has not.
pub(crate) fn missing_kinds() -> impl Iterator<Item = &'static str> {
    let parts = ONLY_QEMU.iter().map(|(part, _)| part);
    parts.filter_map(|part| part.strip_prefix(".backend.type="))
}

#[test]
fn the_schema_says_what_qemus_says() {
    let qemu = Schema::new(&qemus_schema());
    let here = Schema::new(&chardev_qmp::query_qmp_schema(&chardev::back::specs()));
    let mut wrong = Vec::new();
    let mut used = [vec![false; ONLY_QEMU.len()], vec![false; ONLY_HERE.len()]];
    let mut compared = 0;
    for (name, entry) in &here.entries {
        let is_entry = matches!(text(entry, "meta-type"), "command" | "event");
        if !is_entry || name.starts_with("x-") || name.starts_with("X_") {
            continue;
        }
        compared += 1;
        let Some(other) = qemu.entries.get(name) else {
            wrong.push(format!(
                "{name}: QEMU does not have it, so its name must begin with x-"
            ));
            continue;
        };
        let (ours, theirs) = (here.lines(name, entry), qemu.lines(name, other));
        let sides = [
            (&theirs, &ours, ONLY_QEMU, "only QEMU"),
            (&ours, &theirs, ONLY_HERE, "only here"),
        ];
        for (side, (mine, not_in, list, what)) in sides.into_iter().enumerate() {
            for line in mine.iter().filter(|line| !not_in.contains(line)) {
                match list.iter().position(|(part, _)| line.contains(part)) {
                    Some(at) => used[side][at] = true,
                    None => wrong.push(format!("{what}: {line}")),
                }
            }
        }
    }
    for (side, list) in [ONLY_QEMU, ONLY_HERE].into_iter().enumerate() {
        for ((part, why), used) in list.iter().zip(&used[side]) {
            if !used {
                wrong.push(format!(
                    "take it off the list, nothing differs there: {part} ({why})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        compared >= 25,
        "only {compared} commands and events were compared"
    );
}

/// These are not in the table of the session, so a daemon is asked.
#[test]
fn the_commands_of_screens_and_keys_are_described_as_qemus() {
    let daemon = Daemon::start(&[]);
    let schema = daemon.client().execute("query-qmp-schema", Object::new());
    let (qemu, here) = (Schema::new(&qemus_schema()), Schema::new(&schema.unwrap()));
    for name in ["screendump", "send-key", "input-send-event"] {
        let theirs = qemu.lines(name, &qemu.entries[name]);
        let mut ours = here.lines(name, &here.entries[name]);
        ours.retain(|line| !line.contains(".x-"));
        assert_eq!(ours, theirs, "{name}");
        assert!(theirs.len() >= 6, "{theirs:?}");
    }
}

/// A schema, entries by name.
struct Schema {
    entries: BTreeMap<String, Json>,
}

impl Schema {
    fn new(list: &Json) -> Self {
        let entries = list.as_array().expect("a list").iter();
        let entries = entries.map(|entry| (text(entry, "name").to_owned(), entry.clone()));
        Schema {
            entries: entries.collect(),
        }
    }

    /// All that is said of a command or an event, one fact a line.
    fn lines(&self, name: &str, entry: &Json) -> Vec<String> {
        let mut lines = Vec::new();
        let mut head = format!("{name}: {}", text(entry, "meta-type"));
        if entry.get("allow-oob").and_then(Json::as_bool) == Some(true) {
            head.push_str(" allow-oob");
        }
        lines.push(head + &features(entry));
        self.expand(&format!("{name} "), text(entry, "arg-type"), "", &mut lines);
        if entry.get("ret-type").is_some() {
            self.expand(
                &format!("{name} returns"),
                text(entry, "ret-type"),
                "",
                &mut lines,
            );
        }
        lines.sort();
        lines
    }

    fn expand(&self, path: &str, ty: &str, more: &str, lines: &mut Vec<String>) {
        let entry = self
            .entries
            .get(ty)
            .unwrap_or_else(|| panic!("{path}: no type {ty}"));
        match text(entry, "meta-type") {
            "builtin" => lines.push(format!(
                "{path}: {}{more}",
                text(entry, "json-type")
                    .replace("string", "str")
                    .replace("boolean", "bool")
            )),
            "array" => self.expand(
                &format!("{path}[]"),
                text(entry, "element-type"),
                more,
                lines,
            ),
            "enum" => {
                lines.push(format!("{path}: enum{more}"));
                for word in list(entry, "members") {
                    lines.push(format!(
                        "{path}={}: word{}",
                        text(word, "name"),
                        features(word)
                    ));
                }
                let values = list(entry, "values")
                    .iter()
                    .map(|word| word.as_str().unwrap());
                let members = list(entry, "members").iter().map(|word| text(word, "name"));
                assert!(values.eq(members), "{path}: values and members differ");
            }
            "object" => {
                lines.push(format!("{path}: object{more}"));
                for member in list(entry, "members") {
                    let optional = member.get("default").map_or("", |_| " optional");
                    let more = format!("{optional}{}", features(member));
                    let path = format!("{path}.{}", text(member, "name"));
                    self.expand(&path, text(member, "type"), &more, lines);
                }
                for variant in list(entry, "variants") {
                    let path = format!("{path}.{}={}", text(entry, "tag"), text(variant, "case"));
                    self.expand(&path, text(variant, "type"), "", lines);
                }
            }
            other => panic!("{path}: meta-type {other}"),
        }
    }
}

fn text<'a>(value: &'a Json, name: &str) -> &'a str {
    value.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Json, name: &str) -> &'a [Json] {
    value.get(name).and_then(Json::as_array).unwrap_or_default()
}

fn features(value: &Json) -> String {
    let names = list(value, "features").iter();
    names
        .map(|name| format!(" {}", name.as_str().unwrap()))
        .collect()
}

/// Asks QEMU 10.
fn qemus_schema() -> Json {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("qmp");
    let mut child = qemu_rig::qemu10()
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stdin(Stdio::null())
        .spawn()
        .expect("QEMU 10 runs; ./setup fetches it");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "QEMU does not listen: {error}"),
        }
        std::thread::park_timeout(Duration::from_millis(1));
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
        .write_all(b"{'execute': 'qmp_capabilities'} {'execute': 'query-qmp-schema'}\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let answer = lines.nth(2).expect("three lines").expect("a line");
    child.kill().unwrap();
    child.wait().unwrap();
    let answer = Json::parse(&answer).unwrap();
    answer.get("return").expect("a schema").clone()
}

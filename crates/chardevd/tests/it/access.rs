//! Roles: each user at each command and each console, over real sockets with real users.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use chardev_qapi::Json;

use crate::ctl_rig::{LIMIT, chardevctl, text, until};
use crate::ended::Ended;

/// What a command is allowed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Nothing: it is answered, with what one may see.
    Nothing,
    View,
    Attach,
    Change,
    Admin,
}

use Needs::{Admin, Attach, Change, Nothing, View};

/// Each command with its arguments, in which `ID` is a console; what needs a role for everything
/// has none.
const COMMANDS: &[(&str, &str, Needs)] = &[
    ("add-fd", "", Admin),
    ("add_client", r#"{"protocol":"ID","fdname":"f"}"#, Change),
    (
        "chardev-add",
        r#"{"id":"a1","backend":{"type":"null","data":{}}}"#,
        Admin,
    ),
    (
        "chardev-change",
        r#"{"id":"ID","backend":{"type":"ringbuf","data":{}}}"#,
        Change,
    ),
    ("chardev-remove", r#"{"id":"nobody"}"#, Admin),
    ("chardev-send-break", r#"{"id":"ID"}"#, Attach),
    ("closefd", r#"{"fdname":"f"}"#, Nothing),
    ("cont", "", Admin),
    ("device_add", r#"{"driver":"nosuch"}"#, Admin),
    ("device_del", r#"{"id":"nobody"}"#, Admin),
    ("getfd", r#"{"fdname":"f"}"#, Nothing),
    (
        "human-monitor-command",
        r#"{"command-line":"info name"}"#,
        Nothing,
    ),
    ("input-send-event", r#"{"events":[]}"#, Attach),
    (
        "object-add",
        r#"{"qom-type":"authz-simple","id":"o","identity":"x"}"#,
        Admin,
    ),
    ("object-del", r#"{"id":"o"}"#, Admin),
    ("qmp_capabilities", "", Nothing),
    ("qom-list", r#"{"path":"/chardevs"}"#, View),
    ("qom-list-types", "", Nothing),
    ("query-chardev", "", Nothing),
    ("query-chardev-backends", "", Nothing),
    ("query-command-line-options", "", Nothing),
    ("query-commands", "", Nothing),
    ("query-fdsets", "", View),
    ("query-name", "", Nothing),
    ("query-qmp-schema", "", Nothing),
    ("query-status", "", Nothing),
    ("query-version", "", Nothing),
    ("query-yank", "", Nothing),
    ("quit", "", Admin),
    ("remove-fd", r#"{"fdset-id":99}"#, Admin),
    ("ringbuf-read", r#"{"device":"ID","size":1}"#, Attach),
    ("ringbuf-write", r#"{"device":"ID","data":"x"}"#, Attach),
    ("screendump", r#"{"filename":"/nonexistent/x"}"#, Admin),
    ("send-key", r#"{"keys":[],"x-device":"ID"}"#, Attach),
    ("stop", "", Admin),
    ("x-authenticate", r#"{"token":"nonsense"}"#, Nothing),
    ("x-chardev-attach", r#"{"id":"ID","fdname":"f"}"#, Attach),
    ("x-chardev-events", r#"{"enable":false}"#, Nothing),
    ("x-chardev-history", r#"{"id":"ID"}"#, View),
    ("x-chardev-hub-add", r#"{"id":"ID","chardev":"ID"}"#, Change),
    (
        "x-chardev-hub-remove",
        r#"{"id":"ID","chardev":"ID"}"#,
        Change,
    ),
    ("x-chardev-mark", r#"{"id":"ID","text":"t"}"#, Attach),
    ("x-chardev-reopen-log", r#"{"id":"ID"}"#, Change),
    ("x-chardev-send", r#"{"id":"ID","data":""}"#, Attach),
    ("x-chardev-set", r#"{"id":"ID"}"#, Change),
    (
        "x-chardev-set-winsize",
        r#"{"id":"ID","cols":80,"rows":24}"#,
        Attach,
    ),
    (
        "x-chardev-transaction",
        r#"{"actions":[{"type":"chardev-change","data":{"id":"ID","backend":{"type":"ringbuf","data":{}}}}]}"#,
        Change,
    ),
    ("x-chardev-watch", r#"{"id":"ID","fdname":"f"}"#, View),
    ("x-device-restart", r#"{"id":"ID"}"#, Change),
    ("x-error-kinds", r#"{"enable":false}"#, Nothing),
    ("x-export", "", Admin),
    ("x-fleet-web-link", r#"{"host":"nosuch"}"#, View),
    ("x-monitor-add", r#"{"fdname":"f"}"#, Nothing),
    ("x-query-chardev-stats", r#"{"id":"ID"}"#, View),
    ("x-query-chardev-tasks", "", Nothing),
    ("x-query-consoles", "", Nothing),
    ("x-query-devices", "", Nothing),
    ("x-query-fleet", "", View),
    ("x-query-fleet-consoles", "", View),
    ("x-query-monitors", "", View),
    ("x-query-tokens", "", Admin),
    ("x-reload", "", Admin),
    ("x-screen", r#"{"id":"ID"}"#, View),
    ("x-token-add", r#"{"name":"more","role":"view"}"#, Admin),
    ("x-token-remove", r#"{"name":"nobody"}"#, Admin),
    ("x-tunnel-join", r#"{"key":"nonsense"}"#, Nothing),
    ("x-tunnel-offer", r#"{"fdname":"t"}"#, Nothing),
    ("x-web-link", "", Nothing),
    (
        "yank",
        r#"{"instances":[{"type":"chardev","id":"ID"}]}"#,
        Change,
    ),
];

pub(crate) const ROLES: [(Needs, &str); 4] = [
    (View, "view"),
    (Attach, "attach"),
    (Change, "change"),
    (Admin, "admin"),
];
/// Users with a role for group `a`, users with one for everything, and one with none.
const IN_GROUP: u32 = 42_000;
const EVERYWHERE: u32 = 43_000;
const NOBODY: u32 = 44_000;

struct Daemon {
    _child: Ended,
    dir: tempfile::TempDir,
}

impl Daemon {
    /// Two consoles, of which one is in group `a`, and who may what.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut file = String::new();
        for (name, group) in [("a1", "a"), ("b1", "b")] {
            file += &format!(
                "[console.{name}]\nto = \"ringbuf\"\nexec = \"cat\"\ngroups = [\"{group}\"]\n"
            );
        }
        for (number, (_, role)) in (1..).zip(ROLES) {
            let (some, all) = (IN_GROUP + number, EVERYWHERE + number);
            file += &format!("[[access]]\nrole = \"{role}\"\nusers = \"{some}\"\ngroups = \"a\"\n");
            file += &format!("[[access]]\nrole = \"{role}\"\nusers = [\"{all}\"]\n");
        }
        file += "[tokens]\nfile = \"tokens\"\n";
        for (name, role) in [("all", "admin"), ("lookers", "view")] {
            let path = dir.path().join(name);
            let listen = format!("unix:{},x-clients=0,server=on,wait=off", path.display());
            file += &format!("[[monitor]]\nlisten = \"{listen}\"\nrole = \"{role}\"\n");
        }
        std::fs::write(dir.path().join("consoles.toml"), &file).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_chardevd"))
            .args(["--config", "consoles.toml"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Daemon {
            _child: Ended(child),
            dir,
        };
        for socket in ["all", "lookers"] {
            let path = daemon.dir.path().join(socket);
            until("the sockets are there", || path.exists());
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        }
        daemon
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap()
    }
}

/// Somebody at a monitor.
pub(crate) struct Client {
    _child: Ended,
    into: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Client {
    fn new(daemon: &Daemon, user: u32, socket: &str) -> Self {
        let path = daemon.dir.path().join(socket);
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .args(["--clear-groups", "socat", "-t60", "-"])
            .arg(format!("UNIX-CONNECT:{}", path.display()));
        Client::of(command)
    }

    /// One whose standard input and output are the monitor.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs; only root can be other users");
        let into = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut client = Client {
            _child: Ended(child),
            into,
            from,
        };
        assert!(client.next().get("QMP").is_some());
        client.ask("qmp_capabilities", "");
        client
    }

    fn next(&mut self) -> Json {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        Json::parse(line.trim_end()).unwrap_or_else(|_| panic!("{line:?}"))
    }

    fn ask(&mut self, command: &str, arguments: &str) -> Json {
        let arguments = match arguments {
            "" => String::new(),
            some => format!(",\"arguments\":{some}"),
        };
        writeln!(self.into, "{{\"execute\":\"{command}\"{arguments}}}").unwrap();
        loop {
            let said = self.next();
            if said.get("event").is_none() {
                return said;
            }
        }
    }

    /// Whether `command` is refused for what its client is, not for what it says.
    fn is_refused(&mut self, command: &str, arguments: &str, id: &str) -> bool {
        let answer = self.ask(command, &arguments.replace("ID", id));
        let why = answer.get("error").and_then(|error| error.get("desc"));
        let why = why.and_then(Json::as_str).unwrap_or_default();
        why.starts_with("Permission denied") || why == format!("Chardev '{id}' not found")
    }
}

/// Each command and console, for a client that has this role, for group `a` or for everything.
pub(crate) fn check_all(mut client: Client, who: &str, (role, everywhere): (Needs, bool)) {
    for (command, arguments, needs) in COMMANDS {
        for id in ["a1", "b1"] {
            let has = match (arguments.contains("ID"), everywhere, id) {
                (_, true, _) | (true, false, "a1") => role,
                _ => Nothing,
            };
            let may = has >= *needs;
            // What ends the test is for those who may not.
            if may && ["quit", "stop", "qmp_capabilities"].contains(command) {
                continue;
            }
            assert_eq!(
                client.is_refused(command, arguments, id),
                !may,
                "{who} ({role:?}) {command} {id}"
            );
        }
    }
}

#[test]
fn each_role_may_what_it_says_for_each_command_and_console() {
    let daemon = Daemon::start();
    let mut root = Client::new(&daemon, 0, "all");
    let listed = root.ask("query-commands", "");
    let listed = listed.get("return").unwrap().as_array().unwrap();
    let name = |entry: &Json| entry.get("name").unwrap().as_str().unwrap().to_owned();
    let mut listed: Vec<String> = listed.iter().map(name).collect();
    listed.sort();
    let known: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(listed, known, "each command has to say here what it needs");
    let nobody = Client::new(&daemon, NOBODY, "all");
    check_all(nobody, "nobody", (Nothing, false));
    for (number, (needs, role)) in (1..).zip(ROLES) {
        for (user, everywhere) in [(IN_GROUP + number, false), (EVERYWHERE + number, true)] {
            let client = Client::new(&daemon, user, "all");
            check_all(client, &format!("user {user}"), (needs, everywhere));
            // Whoever it was before, it is who has the token.
            let name = format!("{role}-{everywhere}");
            let scope = if everywhere {
                ""
            } else {
                r#","consoles":["a"]"#
            };
            let made = format!(r#"{{"name":"{name}","role":"{role}"{scope}}}"#);
            let made = root.ask("x-token-add", &made);
            let token = made.get("return").and_then(|it| it.get("token"));
            let token = token.expect("a token").to_string();
            // Each guesses a little, and root does so once.
            let user = 50_000 + 2 * number + u32::from(everywhere);
            for user in [user, 0]
                .into_iter()
                .take(1 + usize::from(number == 1 && everywhere))
            {
                let mut client = Client::new(&daemon, user, "all");
                let taken = client.ask("x-authenticate", &format!(r#"{{"token":{token}}}"#));
                assert!(taken.get("return").is_some(), "{taken}");
                check_all(client, &format!("token {name}"), (needs, everywhere));
            }
        }
    }
    // What a program is called, around which the brackets are, may become known only later.
    let said = daemon.said().replace(')', "");
    for line in [
        "uid 44000 may not add a chardev",
        "uid 42003: change 'a1'",
        "uid 42002: type on 'a1'",
        "uid 50006: change 'a1'",
        "token view-true (",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn lists_events_and_people_s_commands_show_what_one_may_see() {
    let daemon = Daemon::start();
    let mut some = Client::new(&daemon, IN_GROUP + 1, "all");
    let mut nobody = Client::new(&daemon, NOBODY, "all");
    for command in [
        "query-chardev",
        "x-query-chardev-stats",
        "x-query-devices",
        "x-query-consoles",
    ] {
        let told = some.ask(command, "").to_string();
        // With their quotes: an epoch may have these digits.
        assert!(
            told.contains("\"a1\"") && !told.contains("\"b1\""),
            "{command}: {told}"
        );
        assert_eq!(
            nobody.ask(command, "").get("return"),
            Some(&Json::Array(Vec::new()))
        );
    }
    let info = r#"{"command-line":"info chardev"}"#;
    let told = some.ask("human-monitor-command", info).to_string();
    assert!(told.contains("a1") && !told.contains("b1"), "{told}");
    let quit = r#"{"command-line":"quit"}"#;
    let told = some.ask("human-monitor-command", quit).to_string();
    assert!(told.contains("Permission denied"), "{told}");
    some.ask("x-chardev-events", r#"{"enable":true}"#);
    let mut root = Client::new(&daemon, 0, "all");
    for id in ["b1", "a1"] {
        let change = format!(r#"{{"id":"{id}","backend":{{"type":"null","data":{{}}}}}}"#);
        assert!(root.ask("chardev-change", &change).get("return").is_some());
    }
    let first = some.next().to_string();
    assert!(first.contains("\"a1\""), "{first}");
}

#[test]
fn a_monitor_for_lookers_lets_nobody_do_more_not_even_root() {
    let daemon = Daemon::start();
    for user in [0, EVERYWHERE + 4] {
        let mut client = Client::new(&daemon, user, "lookers");
        assert!(!client.is_refused("x-chardev-history", r#"{"id":"ID"}"#, "b1"));
        assert!(client.is_refused("chardev-send-break", r#"{"id":"ID"}"#, "b1"));
        assert!(client.is_refused("quit", "", ""));
    }
}

/// A group lists those who are in it besides; whose own group it is stands elsewhere.
#[test]
fn a_group_of_the_host_has_those_too_whose_primary_group_it_is() {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let group = std::fs::read_to_string("/etc/group").unwrap();
    // A user of the system whose group is empty but for them.
    let (user, group) = ["nobody:nogroup", "daemon:daemon", "bin:bin"]
        .into_iter()
        .find_map(|pair| {
            let (user, name) = pair.split_once(':')?;
            let line = group
                .lines()
                .find(|it| it.starts_with(&format!("{name}:")))?;
            let parts: Vec<&str> = line.split(':').collect();
            let user = passwd
                .lines()
                .find(|it| it.starts_with(&format!("{user}:")))?;
            let user: Vec<&str> = user.split(':').collect();
            (parts[3].is_empty() && user[3] == parts[2]).then(|| (user[2].to_owned(), name))
        })
        .expect("every host has such a user");
    let daemon = Daemon::start();
    let path = daemon.dir.path().join("consoles.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    let more = format!("{file}[[access]]\nrole = \"view\"\nunix-groups = \"{group}\"\n");
    std::fs::write(&path, more).unwrap();
    let mut member = Client::new(&daemon, user.parse().unwrap(), "all");
    assert!(member.is_refused("x-chardev-history", r#"{"id":"ID"}"#, "a1"));
    let mut root = Client::new(&daemon, 0, "all");
    assert!(root.ask("x-reload", "").get("return").is_some());
    assert!(!member.is_refused("x-chardev-history", r#"{"id":"ID"}"#, "a1"));
}

/// Over a socket that it brings itself a client may do what it may anyway.
#[test]
fn a_client_that_attaches_has_the_rights_it_came_with() {
    let daemon = Daemon::start();
    let socket = daemon.dir.path().join("all");
    let attach = |user: u32, more: &[&str]| {
        let program = chardevctl().get_program().to_owned();
        let output = Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .arg("--clear-groups")
            .arg(program)
            .arg("--socket")
            .arg(&socket)
            .args(["--timeout", &LIMIT.as_secs().to_string(), "attach", "a1"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.success(), text(&output.stderr))
    };
    assert!(attach(IN_GROUP + 2, &[]).0);
    assert!(attach(IN_GROUP + 1, &["--read-only"]).0);
    let (attached, why) = attach(IN_GROUP + 1, &[]);
    assert!(!attached && why.contains("Permission denied"), "{why}");
    let (attached, why) = attach(NOBODY, &[]);
    assert!(!attached && why.contains("not found"), "{why}");
}

#[test]
fn whoever_started_the_daemon_may_do_everything_on_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let file = "[[access]]\nrole = \"view\"\nusers = [\"1\"]\n\
                [[monitor]]\nlisten = \"stdio\"\nmode = \"readline\"\n";
    std::fs::write(dir.path().join("c.toml"), file).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .args(["--config", "c.toml"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = daemon.stdin.take().unwrap();
    typed
        .write_all(b"chardev-add null,id=new\ninfo chardev\nquit\n")
        .unwrap();
    let output = daemon.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert!(
        output.status.success() && said.contains("new: filename=null"),
        "{said}"
    );
}

/// The default monitor is none of the configuration's, and knows its clients as well.
#[test]
fn at_the_default_monitor_users_are_known_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let looker = IN_GROUP + 1;
    let file = format!(
        "[chardev.a1]\nkind = \"ringbuf\"\n[[access]]\nrole = \"view\"\nusers = \"{looker}\"\n"
    );
    std::fs::write(dir.path().join("c.toml"), file).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .args(["--config", "c.toml"])
        .env("RUNTIME_DIRECTORY", dir.path())
        .env_remove("CHARDEVD_NO_DEFAULT_MONITOR")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Daemon {
        _child: Ended(child),
        dir,
    };
    let socket = daemon.dir.path().join("qmp.sock");
    until("the socket is there", || socket.exists());
    // As an administrator does who lets a group in.
    std::fs::set_permissions(daemon.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let history = r#"{"id":"ID"}"#;
    for (user, sees, changes) in [
        (0, true, true),
        (looker, true, false),
        (NOBODY, false, false),
    ] {
        let mut client = Client::new(&daemon, user, "qmp.sock");
        assert_eq!(client.is_refused("x-chardev-history", history, "a1"), !sees);
        let set = r#"{"id":"ID"}"#;
        assert_eq!(client.is_refused("x-chardev-set", set, "a1"), !changes);
    }
}

/// Who is there already is held against the new file at once.
#[test]
fn a_reload_gives_and_takes_rights() {
    let daemon = Daemon::start();
    let mut some = Client::new(&daemon, IN_GROUP + 1, "all");
    let history = r#"{"id":"ID"}"#;
    assert!(!some.is_refused("x-chardev-history", history, "a1"));
    let path = daemon.dir.path().join("consoles.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    let swapped = file.replace(
        "users = \"42001\"\ngroups = \"a\"",
        "users = \"42001\"\ngroups = \"b\"",
    );
    assert_ne!(file, swapped);
    std::fs::write(&path, swapped).unwrap();
    let mut root = Client::new(&daemon, 0, "all");
    let reloaded = root.ask("x-reload", "");
    assert!(reloaded.get("return").is_some(), "{reloaded}");
    assert!(some.is_refused("x-chardev-history", history, "a1"));
    assert!(!some.is_refused("x-chardev-history", history, "b1"));
}

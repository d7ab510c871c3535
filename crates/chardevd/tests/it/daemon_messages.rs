//! What the daemon says: in which form, where to, and that nobody waits for whoever does not read
//! it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::daemon_rig::{self, chardevd, connect, console, until};
use chardev_qapi::Object;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

/// How many lines a program prints, more than its log's queue and any pipe hold.
const LINES: u32 = 200_000;

/// A daemon whose standard error and output nobody reads, and which are full.
struct Unread {
    child: Child,
    _reader: File,
}

impl Unread {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut full = File::from(writer);
        rustix::io::ioctl_fionbio(&full, true).unwrap();
        let filled = std::iter::from_fn(|| full.write(&[b'.'; 4096]).ok()).sum::<usize>();
        assert!(filled > 0);
        rustix::io::ioctl_fionbio(&full, false).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        command.args(arguments).arg("-v").arg("-qmp");
        let monitor = dir.join("qmp.sock");
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.stdin(Stdio::null());
        command.stdout(full.try_clone().unwrap()).stderr(full);
        Unread {
            child: command.spawn().unwrap(),
            _reader: reader.into(),
        }
    }

    /// Ends it with SIGTERM, which must come to its end.
    fn terminate(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        until("the daemon ends", || {
            self.child.try_wait().unwrap().is_some()
        });
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program prints, up to its last line.
fn read_lines(path: &Path) -> u32 {
    let mut lines = BufReader::new(console(path)).lines();
    let mut count = 0;
    for line in &mut lines {
        count += 1;
        if line.unwrap().trim_end() == LINES.to_string() {
            break;
        }
    }
    count
}

/// A console whose log is on a full disk, with a program that prints much.
fn console_lines(dir: &Path, id: &str) -> [String; 4] {
    let (socket, log) = (dir.join(id), dir.join(format!("{id}.log")));
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    [
        "-chardev".to_owned(),
        format!(
            "socket,id={id},path={},server=on,wait=off,x-closed=hold,logfile={},logappend=on",
            socket.display(),
            log.display()
        ),
        "-device".to_owned(),
        format!("exec,chardev={id},command=seq 1 {LINES}; sleep 1000"),
    ]
}

#[test]
fn messages_that_nobody_reads_stop_no_console_no_monitor_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = [
        console_lines(dir.path(), "con"),
        console_lines(dir.path(), "other"),
    ];
    let arguments = arguments.concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut daemon = Unread::start(dir.path(), &arguments);
    let mut client = connect(&dir.path().join("qmp.sock"));
    for id in ["con", "other"] {
        assert_eq!(read_lines(&dir.path().join(id)), LINES);
    }
    // Adding a pty says so on standard output.
    let pty = chardev_qapi::Json::parse(r#"{"type": "pty", "data": {}}"#).unwrap();
    let arguments = Object::new().with("id", "p").with("backend", pty);
    client.execute("chardev-add", arguments).unwrap();
    let stats = client
        .execute("x-query-chardev-stats", Object::new().with("id", "con"))
        .unwrap();
    let stats = &stats.as_array().unwrap()[0];
    let number = |name: &str| stats.get(name).and_then(|value| value.as_u64()).unwrap();
    let trouble = stats.get("log-trouble").and_then(|text| text.as_str());
    assert_eq!(trouble, Some("No space left on device"));
    assert_eq!(
        number("log-lost") + number("log-pending"),
        number("output-accepted")
    );
    daemon.terminate();
}

#[test]
fn a_message_is_one_line_with_its_level_and_names_modules_only_if_asked() {
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        // It warns, and then it cannot start.
        command.args([
            "-chardev",
            "socket,id=a,path=/nowhere/a\x1b[2J,server,nowait",
        ]);
        command.args(arguments).envs(variables.iter().copied());
        let output = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = run(&[], &[]);
    let warning = "chardevd: warning: short-form boolean option 'server' deprecated";
    assert!(
        plain.lines().next().unwrap().starts_with(warning),
        "{plain}"
    );
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert_eq!(plain.lines().count(), 3, "{plain}");
    let forced = run(&[], &[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains("\x1b[33mwarning:\x1b[0m"), "{forced:?}");
    let forbidden = run(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]);
    assert_eq!(forbidden, plain);
}

#[test]
fn messages_go_to_a_file_that_is_opened_anew_on_a_hang_up() {
    let dir = tempfile::tempdir().unwrap();
    let (log, old) = (dir.path().join("messages"), dir.path().join("old"));
    let mut daemon = daemon_rig::Daemon::start(&[
        "--log-file",
        log.to_str().unwrap(),
        "-chardev",
        "ringbuf,id=a",
        "-device",
        "exec,chardev=a,command=exit 3",
    ]);
    let says = |path: &Path, text: &str| {
        until(&format!("{text} in {}", path.display()), || {
            fs::read_to_string(path).is_ok_and(|said| said.contains(text))
        });
    };
    says(&log, "chardevd: info: ");
    fs::rename(&log, &old).unwrap();
    let pid = Pid::from_raw(daemon.id() as i32).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    until("a new file", || log.exists());
    let (status, said) = daemon.terminate();
    assert!(status.success() && said.is_empty(), "{said}");
    let refused = chardevd(&["--log-file", "/nowhere/log"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    let expected = "chardevd: Could not open log file '/nowhere/log': No such file or directory\n";
    assert_eq!(said, expected);
}

#[test]
fn a_terminal_that_is_stopped_holds_up_nobody() {
    let (mut cable, terminal) = open_terminal();
    let dir = tempfile::tempdir().unwrap();
    let arguments = console_lines(dir.path(), "con");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.args(&arguments).arg("-v").stdin(Stdio::null());
    // Ctrl-S, as a person types it.
    cable.write_all(b"\x13").unwrap();
    command.stdout(Stdio::null()).stderr(terminal);
    let mut daemon = Unread {
        child: command.spawn().unwrap(),
        _reader: cable,
    };
    assert_eq!(read_lines(&dir.path().join("con")), LINES);
    daemon.terminate();
}

fn open_terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let name = name.into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(name).unwrap();
    (master.into(), terminal)
}

#[test]
fn a_daemon_in_the_background_is_handed_over_although_nobody_reads_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let pidfile = dir.path().join("pid");
    let arguments = [
        "-daemonize",
        "-pidfile",
        pidfile.to_str().unwrap(),
        "-chardev",
        "pty,id=p",
    ];
    let mut first = Unread::start(dir.path(), &arguments);
    until("the first start ends", || {
        first.child.try_wait().unwrap().is_some()
    });
    assert!(first.child.wait().unwrap().success());
    let mut client = connect(&dir.path().join("qmp.sock"));
    client.execute("quit", Object::new()).unwrap();
    until("the daemon ends", || !pidfile.exists());
}

//! The machine from outside: a guest that does as it is told, resets, stalled peers, and what is said
//! when something cannot be.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chardev_qapi::{Json, Object};
use chardevd::ctl::connect::{Address, Monitor, connect};

const DEADLINE: Duration = Duration::from_secs(30);

/// A machine whose COM1 listens on a socket, and its monitor.
struct Vm {
    child: Child,
    monitor: Monitor,
    dir: tempfile::TempDir,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Vm {
    /// Starts it, and connects to its console before the guest prints.
    fn start() -> (Self, Console) {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_microvm"))
            .arg("-kernel")
            .arg(common::guest())
            .args(["-m", "16", "-chardev"])
            .arg(format!(
                "socket,id=con0,path={},server=on,wait=off,x-closed=hold",
                path("con").display()
            ))
            .args(["-serial", "chardev:con0", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", path("qmp").display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let monitor = retry(|| connect(&Address::Unix(path("qmp"))).ok());
        let console = Console::connect(&path("con"));
        let vm = Vm {
            child,
            monitor,
            dir,
        };
        (vm, console)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn execute(&mut self, command: &str, arguments: &str) -> Json {
        let arguments = Json::parse(arguments).unwrap();
        let object = arguments.as_object().cloned().unwrap_or_else(Object::new);
        self.monitor.execute(command, object).unwrap()
    }

    fn change(&mut self, data: &str) {
        let arguments = format!("{{'id':'con0','backend':{data}}}");
        self.execute("chardev-change", &arguments);
    }

    fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the machine does not end");
            std::thread::yield_now();
        }
    }
}

/// The peer of a console.
struct Console(UnixStream);

impl Console {
    fn connect(path: &Path) -> Self {
        let stream = retry(|| UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Console(stream)
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads up to and including `end`.
    fn read_to(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(end.as_bytes()) {
            let text = || String::from_utf8_lossy(&all).into_owned();
            match self.0.read(&mut byte) {
                Ok(1) => all.push(byte[0]),
                other => panic!("{other:?} instead of {end:?} after {:?}", text()),
            }
        }
        String::from_utf8(all).unwrap()
    }

    fn ask(&mut self, command: &str, answer: &str) {
        self.send(&format!("{command}\n"));
        assert_eq!(self.read_to("\n"), format!("{answer}\n"), "{command}");
    }
}

fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "the machine does not come up");
        std::thread::yield_now();
    }
}

#[test]
fn a_guest_does_as_it_is_told_and_ends_with_its_own_status() {
    if !common::kvm() {
        return;
    }
    let (mut vm, mut console) = Vm::start();
    assert_eq!(console.read_to("\n"), "guest ready\n");
    console.send("echo\nhello.");
    assert_eq!(console.read_to("."), "hello.");
    console.send("await interrupts\n");
    assert_eq!(console.read_to("\n"), "iinterrupts work\n");
    for (command, answer) in [
        ("break", "break sent"),
        ("params 9600 7E2", "params set"),
        ("params 115200 8N1", "params set"),
        ("modem off", "modem set"),
        ("modem on", "modem set"),
        ("nonsense", "what?"),
    ] {
        console.ask(command, answer);
    }
    console.send("await break\n");
    // One that comes before the guest waits for it is a character like others.
    console
        .0
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut answer = [0; 11];
    retry(|| {
        vm.execute("chardev-send-break", "{'id':'con0'}");
        console.0.read_exact(&mut answer[..1]).ok()
    });
    console.0.set_read_timeout(Some(DEADLINE)).unwrap();
    console.0.read_exact(&mut answer[1..]).unwrap();
    assert_eq!(&answer, b"break seen\n");
    // Breaks that came too late for it are characters of zeros in front of the next command.
    console.send("\noff\n");
    assert_eq!(vm.ended().code(), Some(0));
}

#[test]
fn a_reset_keeps_the_peer_connected() {
    if !common::kvm() {
        return;
    }
    let (_vm, mut console) = Vm::start();
    for _ in 0..5 {
        assert_eq!(console.read_to("\n"), "guest ready\n");
        console.ask("nonsense", "what?");
        console.send("reset\n");
    }
    assert_eq!(console.read_to("\n"), "guest ready\n");
}

/// A peer that takes nothing makes the guest wait, and nobody else; a change frees the guest at once,
/// and every line is there.
#[test]
fn a_stalled_peer_never_hangs_the_machine() {
    if !common::kvm() {
        return;
    }
    let (mut vm, mut console) = Vm::start();
    assert_eq!(console.read_to("\n"), "guest ready\n");
    console.send("lines\n");
    let accepted = |vm: &mut Vm| {
        let stats = vm.execute("x-query-chardev-stats", "{'id':'con0'}");
        let stats = stats.as_array().and_then(<[Json]>::first).cloned().unwrap();
        stats.get("output-accepted").and_then(Json::as_u64).unwrap()
    };
    // Until nothing moves any more: the socket is full and the guest waits.
    let mut before = (accepted(&mut vm), Instant::now());
    let began = Instant::now();
    while before.1.elapsed() < Duration::from_millis(500) {
        let now = accepted(&mut vm);
        if now != before.0 {
            before = (now, Instant::now());
        }
        assert!(
            began.elapsed() < DEADLINE * 2,
            "the socket takes everything"
        );
    }
    let file = vm.path("lines");
    vm.change(&format!(
        "{{'type':'file','data':{{'out':'{}'}}}}",
        file.display()
    ));
    retry(|| (std::fs::metadata(&file).ok()?.len() > 1000).then_some(()));
    let mut all = String::new();
    console.0.read_to_string(&mut all).unwrap();
    vm.execute("quit", "{}");
    assert!(vm.ended().success());
    all += &std::fs::read_to_string(&file).unwrap();
    let complete = all.rsplit_once('\n').map_or("", |(lines, _)| lines);
    for (number, line) in complete.lines().enumerate() {
        assert_eq!(line, number.to_string());
    }
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    std::fs::write(&text, "not a kernel").unwrap();
    let text = text.to_str().unwrap();
    let guest = common::guest().to_str().unwrap();
    let mut cases = vec![
        (
            vec!["-kernel", guest, "-serial", "chardev:none"],
            "-serial chardev:none: chardev \"none\" not found",
        ),
        (
            vec![
                "-kernel", guest, "-serial", "null", "-serial", "null", "-serial", "null",
            ],
            "-serial null: there are 2 serial ports at most",
        ),
    ];
    if common::kvm() {
        cases.extend([
            (
                vec!["-kernel", "/nonexistent", "-serial", "null"],
                "-kernel /nonexistent: No such file or directory",
            ),
            (
                vec!["-kernel", text, "-serial", "null"],
                "neither an ELF file nor a bzImage",
            ),
            (
                vec!["-kernel", guest, "-m", "1", "-serial", "null"],
                "-m 1: choose from 8 to 3072 MiB",
            ),
        ]);
    } else {
        cases.push((vec!["-kernel", guest, "-serial", "null"], "/dev/kvm: "));
    }
    for (arguments, error) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_microvm"))
            .args(&arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains(error), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

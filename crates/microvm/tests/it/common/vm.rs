//! A machine from outside: what it is told, and what is at the other end of its consoles.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chardev_qapi::{Json, Object};
use chardevd::ctl::connect::{Address, Monitor, connect};

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A machine with our guest in it, and its monitor.
pub(crate) struct Vm {
    pub(crate) child: Child,
    pub(crate) monitor: Monitor,
    dir: tempfile::TempDir,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Vm {
    /// Starts it with `arguments` for what there is in `dir`.
    pub(crate) fn spawn(dir: tempfile::TempDir, arguments: &[&str]) -> Self {
        let monitor = dir.path().join("qmp");
        let child = Command::new(env!("CARGO_BIN_EXE_microvm"))
            .arg("-kernel")
            .arg(crate::common::guest())
            .args(["-m", "16"])
            .args(arguments)
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Vm {
            child,
            monitor: retry(|| connect(&Address::Unix(monitor.clone())).ok()),
            dir,
        }
    }

    /// One whose COM1 listens on a socket. Connects to that before the guest prints.
    pub(crate) fn start() -> (Self, Console) {
        Vm::start_with(&[])
    }

    /// The same with more devices.
    pub(crate) fn start_with(more: &[&str]) -> (Self, Console) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("con");
        let chardev = listening("con0", &path);
        let mut arguments = vec!["-chardev", &chardev, "-serial", "chardev:con0"];
        arguments.extend(more);
        let vm = Vm::spawn(dir, &arguments);
        (vm, Console::connect(&path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn execute(&mut self, command: &str, arguments: &str) -> Json {
        let arguments = Json::parse(arguments).unwrap();
        let object = arguments.as_object().cloned().unwrap_or_else(Object::new);
        self.monitor.execute(command, object).unwrap()
    }

    pub(crate) fn change(&mut self, data: &str) {
        let arguments = format!("{{'id':'con0','backend':{data}}}");
        self.execute("chardev-change", &arguments);
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
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
pub(crate) struct Console(pub(crate) UnixStream);

impl Console {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = retry(|| UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Console(stream)
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads up to and including `end`.
    pub(crate) fn read_to(&mut self, end: &str) -> String {
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

    pub(crate) fn ask(&mut self, command: &str, answer: &str) {
        self.send(&format!("{command}\n"));
        assert_eq!(self.read_to("\n"), format!("{answer}\n"), "{command}");
    }
}

pub(crate) fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "the machine does not come up");
        std::thread::yield_now();
    }
}

/// A chardev that listens at `path`, in the grammar of `-chardev`.
pub(crate) fn listening(id: &str, path: &Path) -> String {
    let path = path.display();
    format!("socket,id={id},path={path},server=on,wait=off,x-closed=hold")
}

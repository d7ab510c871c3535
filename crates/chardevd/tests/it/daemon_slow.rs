//! While an `open` takes seconds, or a signal has logs reopened, everybody else goes on.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::config_start::Configured;
use crate::daemon_rig::{DEADLINE, Daemon, connect, console, until};
use chardev_qapi::{Json, Object};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

/// How long an `open` takes: longer than a busy machine makes a round trip last.
const SLOW: Duration = Duration::from_secs(5);

/// Makes the kernel slow for a daemon, until it is dropped.
struct Slowness {
    strace: Child,
    /// It says whom it stops, and everybody who comes and goes. What nobody read would in the end
    /// hold it up, and the daemon with it.
    said: Receiver<String>,
}

impl Slowness {
    fn of(daemon: &Daemon, calls: &str) -> Self {
        Self::at(daemon, calls, None)
    }

    /// Only for `path`, if there is one.
    fn at(daemon: &Daemon, calls: &str, path: Option<&str>) -> Self {
        let micros = SLOW.as_micros();
        let mut strace = Command::new("strace")
            .args(path.into_iter().flat_map(|path| ["-P", path]))
            .args(["-f", "-p", &daemon.id().to_string(), "-e"])
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:delay_enter={micros}"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace, which ./setup installs");
        let lines = BufReader::new(strace.stderr.take().unwrap()).lines();
        let (tell, said) = channel();
        std::thread::spawn(move || {
            // The one who is told may have left.
            lines
                .map_while(Result::ok)
                .for_each(|line| drop(tell.send(line)));
        });
        let mut slowness = Slowness { strace, said };
        slowness.begins("attached");
        slowness
    }

    /// Waits until a call of that name is under way.
    fn begins(&mut self, call: &str) {
        while !self.said.recv().expect("strace goes on").contains(call) {}
    }
}

impl Drop for Slowness {
    fn drop(&mut self) {
        // Killed, it lets go of the daemon; either call fails only if it has ended.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Two ends of a relay, and how long a byte takes from one to the other.
struct Relay(UnixStream, UnixStream);

impl Relay {
    fn round_trip(&mut self) -> Duration {
        let began = Instant::now();
        self.0.write_all(b"x").unwrap();
        self.1.read_exact(&mut [0]).unwrap();
        began.elapsed()
    }
}

fn start(more: &[&str]) -> (Daemon, Relay, std::path::PathBuf) {
    let arguments = [
        "-chardev",
        "socket,id=a,path=a.sock,server=on,wait=off,x-closed=hold",
        "-chardev",
        "socket,id=b,path=b.sock,server=on,wait=off,x-closed=hold",
        "-device",
        "null-modem,chardev=a,peer=b",
        "-chardev",
        "socket,id=second,path=second.sock,server=on,wait=off",
        "-mon",
        "chardev=second,mode=control",
        "-chardev",
        "null,id=logged,logfile=logged.log",
    ];
    let daemon = Daemon::start(&[&arguments, more].concat());
    let path = |name: &str| daemon.dir().join(name);
    let relay = Relay(console(&path("a.sock")), console(&path("b.sock")));
    let second = path("second.sock");
    (daemon, relay, second)
}

#[test]
fn an_open_that_takes_long_is_felt_by_its_command_alone() {
    let (daemon, mut relay, second) = start(&[]);
    let mut other = connect(&second);
    let dir = daemon.dir().to_owned();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let modes = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path("fifo"), FileType::Fifo, modes, 0).unwrap();
    std::fs::write(path("old"), "old").unwrap();
    let data = |kind: &str, data: Object| Object::new().with("type", kind).with("data", data);
    let unix = Object::new().with("path", path("new.sock"));
    let address = Object::new().with("type", "unix").with("data", unix);
    let backends = [
        data("file", Object::new().with("out", path("old"))),
        data("null", Object::new().with("logfile", path("old"))),
        data("pipe", Object::new().with("device", path("fifo"))),
        data("serial", Object::new().with("device", "/dev/ptmx")),
        data("pty", Object::new().with("path", path("link"))),
        data("socket", Object::new().with("addr", address)),
    ];
    let monitor = daemon.monitor().to_owned();
    for (number, backend) in backends.into_iter().enumerate() {
        let mut slowness = Slowness::of(&daemon, "open,openat");
        let monitor = monitor.clone();
        let adding = std::thread::spawn(move || {
            let arguments = Object::new()
                .with("id", format!("new{number}"))
                .with("backend", backend);
            connect(&monitor).execute("chardev-add", arguments).unwrap();
        });
        slowness.begins("open");
        let began = Instant::now();
        assert!(relay.round_trip() < SLOW / 2, "{number}: a relay waits");
        let answer: Json = other.execute("query-status", Object::new()).unwrap();
        assert!(answer.get("running").is_some());
        assert!(began.elapsed() < SLOW / 2, "{number}: a monitor waits");
        assert!(!adding.is_finished(), "{number}: nothing was slow");
        drop(slowness);
        adding.join().unwrap();
    }
}

/// An adapter whose control transfers time out.
#[test]
fn a_serial_device_that_does_not_answer_is_felt_by_its_own_line_alone() {
    let cable = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&cable).unwrap();
    let device = ptsname(&cable, Vec::new()).unwrap();
    let device = device.to_str().unwrap();
    let serial = format!("serial,id=tty,path={device}");
    let (daemon, mut relay, second) = start(&[
        "-chardev",
        &serial,
        "-chardev",
        "socket,id=far,path=far.sock,server=on,wait=off",
        "-device",
        "null-modem,chardev=far,peer=tty",
    ]);
    let mut other = connect(&second);
    let mut slowness = Slowness::at(&daemon, "ioctl", Some(device));
    // Whoever comes there is seen here by the modem lines.
    let mut far = console(&daemon.dir().join("far.sock"));
    slowness.begins("ioctl");
    let began = Instant::now();
    far.write_all(b"in its place").unwrap();
    assert!(relay.round_trip() < SLOW / 2, "a relay waits");
    let answer: Json = other.execute("query-chardev", Object::new()).unwrap();
    assert!(answer.as_array().is_some());
    assert!(relay.round_trip() < SLOW / 2, "a relay waits");
    assert!(began.elapsed() < SLOW / 2, "a monitor waits");
    drop(slowness);
    let mut heard = [0; 12];
    File::from(cable).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"in its place");
}

#[test]
fn an_end_does_not_wait_for_logs_that_are_reopened() {
    let (mut daemon, mut relay, _) = start(&[]);
    let mut slowness = Slowness::of(&daemon, "open,openat");
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    slowness.begins("open");
    assert!(relay.round_trip() < SLOW / 2, "a relay waits");
    let began = Instant::now();
    let (status, said) = daemon.terminate();
    assert!(status.success(), "{said}");
    assert!(began.elapsed() < SLOW, "the end waited: {said}");
    until("strace has ended with it", || {
        slowness.strace.try_wait().unwrap().is_some()
    });
    assert!(DEADLINE > SLOW);
}

#[test]
fn a_program_whose_directory_takes_seconds_keeps_no_other_from_starting() {
    let configured = Configured::start("");
    let slow = configured.path("slow");
    std::fs::create_dir(&slow).unwrap();
    let _slow = Slowness::at(&configured.daemon, "chdir", slow.to_str());
    let pid = |id: &str| {
        let all = configured.ask("x-query-devices");
        let mut all = all.as_array().unwrap().iter();
        let is_it = |device: &&Json| device.get("id").and_then(Json::as_str) == Some(id);
        all.find(is_it).and_then(|it| it.get("pid").cloned())
    };
    let began = Instant::now();
    configured.reload(
        "[console.one]\nexec = 'exec cat'\ncwd = 'slow'\nto = 'null'\n\
         [console.two]\nexec = 'exec cat'\nto = 'null'\n",
    );
    until("the other one runs", || pid("two").is_some());
    assert_eq!(pid("one"), None, "after {:?}", began.elapsed());
    assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
    until("it runs as well", || pid("one").is_some());
    assert!(began.elapsed() >= SLOW, "{:?}", began.elapsed());
}

//! What the guest does to its line, as the host's serial device sees it. That is played by a pty,
//! which keeps speed and stop bits; what it is told beyond that shows in a trace of the calls on
//! it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::common;
use crate::common::vm::{DEADLINE, Vm, retry};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, Termios, tcgetattr};

/// The far end of a serial device.
struct Cable {
    end: File,
    device: String,
}

impl Cable {
    fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let end = openpt(flags).unwrap();
        grantpt(&end).unwrap();
        unlockpt(&end).unwrap();
        let device = ptsname(&end, Vec::new()).unwrap().into_string().unwrap();
        Cable {
            end: end.into(),
            device,
        }
    }

    /// How the device is set up.
    fn settings(&self) -> Termios {
        tcgetattr(&self.end).unwrap()
    }

    fn ask(&mut self, command: &str, answer: &str) {
        self.end
            .write_all(format!("{command}\n").as_bytes())
            .unwrap();
        let mut heard = vec![0; answer.len() + 1];
        for at in 0..heard.len() {
            let mut fds = [PollFd::new(&self.end, PollFlags::IN)];
            let time = Timespec {
                tv_sec: DEADLINE.as_secs() as i64,
                tv_nsec: 0,
            };
            assert_eq!(poll(&mut fds, Some(&time)), Ok(1), "{command}");
            self.end.read_exact(&mut heard[at..=at]).unwrap();
        }
        assert_eq!(heard, format!("{answer}\n").as_bytes(), "{command}");
    }
}

/// A trace of the calls on some devices.
struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Drop for Trace {
    fn drop(&mut self) {
        // It is asked, because the process that it traces would stay stopped.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        let _ = self.strace.wait();
    }
}

impl Trace {
    /// Begins to trace; `None` where that is forbidden.
    fn start(vm: &Vm, devices: [&str; 2]) -> Option<Self> {
        let file = vm.path("trace");
        let strace = Command::new("strace")
            .args([
                "-f",
                "-qqq",
                "-e",
                "trace=ioctl",
                "-P",
                devices[0],
                "-P",
                devices[1],
            ])
            .args(["-p", &vm.child.id().to_string(), "-o"])
            .arg(&file)
            .spawn();
        let strace = strace.unwrap_or_else(|error| panic!("strace: {error}; run ./setup"));
        let mut trace = Trace { strace, file };
        let status = format!("/proc/{}/status", vm.child.id());
        let attached = retry(|| {
            if trace.strace.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let status = std::fs::read_to_string(&status).unwrap();
            (!status.contains("TracerPid:\t0\n")).then_some(true)
        });
        attached.then_some(trace)
    }

    /// Waits until all of `calls` were made, one after the other.
    fn expect(&self, calls: &[&[&str]]) {
        retry(|| {
            let text = std::fs::read_to_string(&self.file).ok()?;
            let mut lines = text.lines();
            let made =
                |call: &&[&str]| lines.any(|line| call.iter().all(|word| line.contains(word)));
            calls.iter().all(made).then_some(())
        });
    }
}

fn serial(cable: &Cable) -> String {
    format!("{{'type':'serial','data':{{'device':'{}'}}}}", cable.device)
}

#[test]
fn breaks_and_line_parameters_reach_the_hosts_device() {
    if !common::kvm() {
        return;
    }
    let (mut vm, mut console) = Vm::start();
    assert_eq!(console.read_to("\n"), "guest ready\n");
    let (mut cable, mut other) = (Cable::new(), Cable::new());
    let trace = Trace::start(&vm, [&cable.device, &other.device]);
    vm.change(&serial(&cable));
    assert_eq!(cable.settings().output_speed(), 115_200);
    cable.ask("params 9600 7E2", "params set");
    assert_eq!(cable.settings().output_speed(), 9600);
    assert!(
        cable
            .settings()
            .control_modes
            .contains(ControlModes::CSTOPB)
    );
    cable.ask("break", "break sent");
    // The next device is set up as the guest had the last one.
    vm.change(&serial(&other));
    assert_eq!(other.settings().output_speed(), 9600);
    other.ask("params 115200 8N1", "params set");
    assert_eq!(other.settings().output_speed(), 115_200);
    assert!(
        !other
            .settings()
            .control_modes
            .contains(ControlModes::CSTOPB)
    );
    other.ask("break", "break sent");
    let Some(trace) = trace else {
        eprintln!("NOT TESTED: bits, parity and breaks, because strace may not trace here");
        return;
    };
    let even = ["TCSETS", "B9600", "CS7", "CSTOPB", "PARENB"];
    let none = ["TCSETS", "B115200", "CS8"];
    let broken: [&[&str]; 2] = [&["TIOCSBRK"], &["TIOCCBRK"]];
    // On the first device, then on the second.
    trace.expect(&[
        &even, broken[0], broken[1], &even, &none, broken[0], broken[1],
    ]);
}

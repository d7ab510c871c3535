//! Peers that are killed with SIGKILL at any moment, a thousand of them: the console goes on, and
//! the process holds no more descriptors, threads or memory afterwards than before.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{add, hold, text, wait_for};
use crate::states::device::Device;
use chardev::Chardevs;
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process_group};

/// Kills of each kind of peer; four kinds make a thousand.
const KILLS: usize = 250;
/// Kills before the resources are counted for the first time.
const WARM: usize = 50;
/// How much the process may grow in the other 200, in KiB: not a buffer for each of them.
const GROWTH: usize = 4 << 10;

/// Runs `script` in a process group of its own, which is killed as a whole.
fn spawn(script: &str) -> Child {
    Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// `socat` between the console and a program that takes all output and types without end.
fn socat(address: &str) -> String {
    format!("exec socat -b 4096 -t 0 '{address}' SYSTEM:'yes & exec cat >/dev/null'")
}

/// Descriptors, threads, and KiB of memory of this process.
fn held() -> (usize, usize, usize) {
    let count = |name| {
        fs::read_dir(Path::new("/proc/self").join(name))
            .unwrap()
            .count()
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    (count("fd"), count("task"), memory.unwrap())
}

/// Kills the program `script`, which is a peer of `options`, again and again. A kill comes after
/// another amount of output each time, at times before the peer is there at all.
fn kill_again_and_again(options: &Options, script: impl FnOnce(&chardev::Info) -> String) {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", options);
    let script = script(&info);
    let device = Device::forgetful(&chardevs);
    let mut before = None;
    for round in 0..KILLS {
        if round == WARM {
            before = Some(held());
        }
        let (accepted, received) = (device.accepted(), device.received());
        let mut peer = spawn(&script);
        let output = round * 7919 % 60_000;
        // Every tenth is killed as it comes.
        if round % 10 != 9 {
            wait_for("output to go on", || {
                (device.accepted() > accepted + output).then_some(())
            });
        }
        if round % 10 == 0 {
            wait_for("input to go on", || {
                (device.received() > received).then_some(())
            });
        }
        kill_process_group(Pid::from_child(&peer), Signal::KILL).unwrap();
        peer.wait().unwrap();
    }
    let (fds, threads, memory) = before.unwrap();
    wait_for("descriptors and threads to be given back", || {
        let now = held();
        (now.0 <= fds && now.1 <= threads).then_some(())
    });
    let grown = held().2.saturating_sub(memory);
    assert!(
        grown < GROWTH,
        "{grown} KiB more than before, {:?}",
        chardevs.list()
    );
}

#[test]
fn peers_of_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let address = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    let options = hold("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(true));
    kill_again_and_again(&options, |_| {
        socat(&format!("UNIX-CONNECT:{}", path.display()))
    });
}

#[test]
fn peers_of_a_tcp_socket() {
    let address = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: "0".to_owned(),
        ..InetAddress::default()
    });
    let options = hold("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(true));
    kill_again_and_again(&options, |info| {
        let address = info.filename.rsplit_once("tcp:").unwrap().1;
        socat(&format!("TCP:{}", address.trim_end_matches(",server=on")))
    });
}

#[test]
fn readers_of_a_pty() {
    kill_again_and_again(&hold("pty"), |info| {
        socat(&format!("FILE:{},rawer,noctty", info.pty.as_ref().unwrap()))
    });
}

#[test]
fn both_ends_of_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    for end in ["in", "out"] {
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, path.with_extension(end), FileType::Fifo, mode, 0).unwrap();
    }
    let options = hold("pipe").with("device", text(&path));
    let path = path.display();
    kill_again_and_again(&options, |_| {
        format!("yes >'{path}.in' & exec cat '{path}.out' >/dev/null")
    });
}

//! A daemon with every kind of device, none of which has anything to do, sleeps.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::daemon_rig::{Daemon, console, until};

/// How long it must sleep.
const IDLE: Duration = Duration::from_secs(2);
/// How long nothing must have run for everything to count as settled.
const SETTLED: Duration = Duration::from_millis(1500);

/// How often each thread of the daemon gave up the CPU.
fn switches(daemon: &Daemon) -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
    let mut all = BTreeMap::new();
    for task in tasks {
        let task = task.unwrap();
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let find = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let (Some(name), Some(count)) = (find("Name:"), find("voluntary_ctxt_switches:")) else {
            continue;
        };
        let id = task.file_name().into_string().unwrap();
        all.insert(
            format!("{} {id}", name.trim()),
            count.trim().parse().unwrap(),
        );
    }
    all
}

/// Waits until the daemon sleeps, and sees it go on sleeping. A thread of a pool that ends unused
/// is gone at its end.
fn assert_sleeps(daemon: &Daemon) {
    let (mut last, mut since) = (switches(daemon), Instant::now());
    until("the daemon to settle", || {
        let now = switches(daemon);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() >= SETTLED
    });
    let end = since + SETTLED + IDLE;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    let ran: Vec<_> = switches(daemon)
        .into_iter()
        .filter_map(|(name, count)| {
            let times = count - last.get(&name)?;
            (times > 0).then(|| format!("{name}: {times}"))
        })
        .collect();
    assert!(ran.is_empty(), "ran in {IDLE:?}: {ran:?}");
}

/// Devices of all kinds over back ends with nobody there, and a monitor with an idle client.
#[test]
fn with_nobody_there() {
    let daemon = Daemon::start(&[
        "-chardev",
        "pty,id=idle",
        "-device",
        "exec,chardev=idle,command=exec sleep 1000",
        "-chardev",
        "pty,id=held,x-closed=hold",
        "-device",
        "exec,chardev=held,command=exec yes",
        "-chardev",
        "pty,id=a",
        "-chardev",
        "socket,id=b,path=b,server=on,wait=off",
        "-device",
        "null-modem,chardev=a,peer=b",
        "-chardev",
        "socket,id=base,path=base,server=on,wait=off,mux=on",
        "-device",
        "exec,chardev=base,command=exec sleep 1000",
        "-mon",
        "chardev=base,mode=readline",
        "-chardev",
        "pty,id=m0",
        "-chardev",
        "ringbuf,id=m1",
        "-chardev",
        "hub,id=hub,chardevs.0=m0,chardevs.1=m1",
        "-device",
        "exec,chardev=hub,command=exec sleep 1000",
        "-chardev",
        "stdio,id=io",
        "-device",
        "exec,chardev=io,command=exec sleep 1000",
        "-chardev",
        "serial,id=missing,path=missing,x-reconnect-ms=50,x-closed=hold",
        "-device",
        "exec,chardev=missing,command=exec yes",
        "-chardev",
        "null,id=ended",
        "-device",
        "exec,chardev=ended,command=true",
    ]);
    let _client = daemon.client();
    assert_sleeps(&daemon);
}

/// Peers that came and went, or stay and take nothing.
#[test]
fn with_peers_that_left_or_stalled() {
    let device = tempfile::tempdir().unwrap();
    let link = device.path().join("ttyUSB0");
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let cable = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&cable).unwrap();
    rustix::pty::unlockpt(&cable).unwrap();
    let name = rustix::pty::ptsname(&cable, Vec::new()).unwrap();
    symlink(name.to_str().unwrap(), &link).unwrap();
    let serial = format!("serial,id=gone,path={},x-closed=hold", link.display());
    let daemon = Daemon::start(&[
        "-chardev",
        &serial,
        "-device",
        "exec,chardev=gone,command=exec yes",
        "-chardev",
        "socket,id=stalled,path=stalled,server=on,wait=off",
        "-device",
        "exec,chardev=stalled,command=exec yes",
        "-chardev",
        "socket,id=left,path=left,server=on,wait=off,x-closed=hold",
        "-device",
        "exec,chardev=left,command=exec yes",
        "-chardev",
        "socket,id=half,path=half,server=on,wait=off,x-closed=hold",
        "-device",
        "exec,chardev=half,command=exec yes",
        "-chardev",
        "pty,id=tty,path=tty,x-closed=hold",
        "-device",
        "exec,chardev=tty,command=exec yes",
        "-chardev",
        "pty,id=a",
        "-chardev",
        "socket,id=b,path=b,server=on,wait=off",
        "-device",
        "null-modem,chardev=a,peer=b",
    ]);
    let at = |name: &str| daemon.dir().join(name);
    let _stalled = console(&at("stalled"));
    drop(console(&at("left")));
    let half: UnixStream = console(&at("half"));
    half.shutdown(std::net::Shutdown::Write).unwrap();
    drop(console(&at("b")));
    let terminal = OpenOptions::new().read(true).write(true).open(at("tty"));
    drop(terminal.unwrap());
    drop(cable);
    std::fs::remove_file(link).unwrap();
    let _client = daemon.client();
    assert_sleeps(&daemon);
}

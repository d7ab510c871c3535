//! Chardevs on D-Bus: to libdbus as its client they look as QEMU's do.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::bus_rig::Bus;
use crate::daemon_rig::{DEADLINE, Daemon, console, read_until};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// What the client found of `label`, after it has said `text` to a front end that repeats it.
fn ask(address: &str, label: &str, text: Option<&str>) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dbus/client.py");
    // The system's interpreter has the bindings.
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .args([address, label])
        .args(text)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found = String::from_utf8(output.stdout).unwrap();
    found.lines().map(str::to_owned).collect()
}

/// What the daemon says to a client without a bus that a monitor has brought.
#[test]
fn a_monitor_brings_a_client_without_a_bus() {
    let daemon = Daemon::start(&["-chardev", "dbus,id=con0,name=x,x-bus=none"]);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut monitor = console(daemon.monitor());
    monitor
        .write_all(b"{'execute': 'qmp_capabilities'}")
        .unwrap();
    let rights = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&rights));
    let getfd = IoSlice::new(b"{'execute': 'getfd', 'arguments': {'fdname': 'bus'}}");
    sendmsg(&monitor, &[getfd], &mut control, SendFlags::empty()).unwrap();
    let add = "{'execute': 'add_client', 'arguments': {'protocol': '@dbus-display', 'fdname': 'bus'}, 'id': 1}";
    monitor.write_all(add.as_bytes()).unwrap();
    read_until(&mut monitor, "{\"return\": {}, \"id\": 1}");
    let user: String = rustix::process::getuid()
        .to_string()
        .bytes()
        .map(|digit| format!("{digit:02x}"))
        .collect();
    ours.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())
        .unwrap();
    let mut said = [0; 3];
    ours.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"OK ");
}

struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_finds_what_it_finds_at_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let (_bus, address) = Bus::start(&dir.path().join("of-qemu"));
    let _qemu = Qemu(
        // Debian's, which has this display as a module.
        Command::new("qemu-system-x86_64")
            .args(["-M", "none", "-nodefaults", "-display"])
            .arg(format!("dbus,addr={}", address.replace(',', ",,")))
            .args(["-chardev", "dbus,id=con0,name=org.test.console"])
            .stdin(Stdio::null())
            .spawn()
            .expect("QEMU runs; ./setup installs it"),
    );
    let at_qemu = ask(&address, "con0", None);

    let (_bus, address) = Bus::start(&dir.path().join("of-ours"));
    let chardev = format!(
        "dbus,id=con0,name=org.test.console,x-bus={}",
        address.replace(',', ",,")
    );
    let _daemon = Daemon::start(&["-chardev", &chardev]);
    let at_ours = ask(&address, "con0", None);
    assert_eq!(at_ours, at_qemu);
    assert_eq!(at_qemu.len(), 7, "{at_qemu:?}");
}

#[test]
fn a_program_is_used_over_a_socket_that_came_by_the_bus() {
    let dir = tempfile::tempdir().unwrap();
    let (_bus, address) = Bus::start(&dir.path().join("bus"));
    let chardev = format!(
        "dbus,id=sh-0,name=shell,x-bus={}",
        address.replace(',', ",,")
    );
    let device = ["-device", "exec,chardev=sh-0,command=cat"];
    let daemon = Daemon::start(&[&["-chardev", &*chardev], &device[..]].concat());
    let found = ask(&address, "sh_2d0", Some("a line and back"));
    assert!(found.contains(&"{\"heard\": true}".to_owned()), "{found:?}");
    let again = ask(&address, "sh_2d0", Some("and by the next client"));
    assert!(again.contains(&"{\"heard\": true}".to_owned()), "{again:?}");
    drop(daemon);
}

/// A system bus of the test's own, on which `allowed` may have our name and everybody may call it.
fn system_bus(dir: &Path, allowed: &str) -> (Bus, String) {
    let configuration = dir.join("system.conf");
    let text = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.qemu"/>
  </policy>
  <policy user="{allowed}">
    <allow own="org.qemu"/>
  </policy>
</busconfig>
"#,
        dir.join("bus").display()
    );
    std::fs::write(&configuration, text).unwrap();
    Bus::configured(&configuration)
}

fn chardevd_on(bus: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus).args(arguments);
    command
}

const ON_THE_SYSTEMS: [&str; 4] = [
    "-chardev",
    "dbus,id=con0,name=org.test.console,x-bus=system",
    "-device",
    "exec,chardev=con0,command=cat",
];

#[test]
fn a_program_is_used_over_the_systems_bus_where_its_policy_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let user = rustix::process::getuid().as_raw().to_string();
    let (_bus, address) = system_bus(dir.path(), &user);
    let monitor = dir.path().join("monitor");
    let qmp = format!("unix:{},server=on,wait=off", monitor.display());
    let mut command = chardevd_on(&address, &ON_THE_SYSTEMS);
    command.args(["-qmp", &qmp]);
    let _daemon = Daemon::adopt(command, &monitor);
    let found = ask(&address, "con0", Some("a line and back"));
    assert!(found.contains(&"{\"heard\": true}".to_owned()), "{found:?}");
}

#[test]
fn a_bus_that_lets_nobody_have_the_name_is_said_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody's number.
    let (_bus, address) = system_bus(dir.path(), "65533");
    let output = chardevd_on(&address, &ON_THE_SYSTEMS).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    for words in [
        "Failed to connect to D-Bus 'system'",
        "does not let this user have the name 'org.qemu'",
        "/etc/dbus-1/system.d",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

//! Where `chardevctl` looks for a monitor that nobody has named. The test has a `/run` of its own,
//! in a namespace that ends with it.

use std::process::{Command, Stdio};

use crate::ctl_rig::text;

/// Run by a shell that may mount: `$1` has our programs, and the directory is empty.
const SCRIPT: &str = r#"
mount -t tmpfs -o mode=755 none /run
trap 'kill $(cat system.pid) 2> kill.log' EXIT
export PATH="$1:$PATH" XDG_RUNTIME_DIR="$PWD"
unset CHARDEVD_SOCKET CHARDEVD_NO_DEFAULT_MONITOR CHARDEV
labels() { chardevctl list | sed -n '2,$s/ .*//p'; }
echo neither
chardevctl list
echo "status $?"
chardevd --no-default-monitor -chardev null,id=system -daemonize -pidfile system.pid \
    -qmp unix:/run/chardevd.sock,server=on,wait=off,x-clients=0
echo service
labels | head -n 1
chardevd -chardev null,id=mine -daemonize
echo both
labels
chardevctl quit
echo service again
labels | head -n 1
chmod 1777 /run
chardevctl list
chmod 755 /run
chardevctl quit
# What nobody serves any more is as good as nothing.
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("chardevd/qmp.sock")'
chardevctl list
"#;

#[test]
fn the_user_s_own_monitor_comes_before_the_service_s() {
    let dir = tempfile::tempdir().unwrap();
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_chardevd")).parent();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(programs.unwrap())
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("unshare is part of Debian");
    let said = text(&output.stdout);
    let wanted = "neither\nstatus 3\nservice\nsystem\nboth\nmine\nservice again\nsystem\n";
    let complained = text(&output.stderr);
    assert_eq!(said, wanted, "{complained}");
    let own = dir.path().join("chardevd/qmp.sock");
    let lines: Vec<_> = complained.lines().collect();
    let nobody = format!(
        "chardevctl: no chardevd at {}, nor at /run/chardevd.sock: No such file or directory (os error 2)",
        own.display()
    );
    assert_eq!(lines[0], nobody, "{complained}");
    assert_eq!(
        lines[2], "chardevctl: /run can be written to by others, so it is not spoken to",
        "{complained}"
    );
    let refused = format!(
        "chardevctl: no chardevd at {}, nor at /run/chardevd.sock: Connection refused (os error 111)",
        own.display()
    );
    assert!(lines.contains(&refused.as_str()), "{complained}");
}

//! `./setup` asks the machine's apt where Debian is.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the script with these sources and no index, on a machine of this release.
fn mirror(dir: &Path, sources: &str) -> Output {
    fs::write(dir.join("sources.list"), sources).unwrap();
    fs::write(
        dir.join("os-release"),
        "ID=debian\nVERSION_CODENAME=bookworm\n",
    )
    .unwrap();
    fs::create_dir_all(dir.join("lists/partial")).unwrap();
    let place = dir.display();
    let config = format!(
        "Dir::Etc::sourcelist \"{place}/sources.list\"; Dir::Etc::sourceparts \"-\"; \
         Dir::State::lists \"{place}/lists\";"
    );
    fs::write(dir.join("apt.conf"), config).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(root.join("tests/guest/mirror"))
        .env("APT_CONFIG", dir.join("apt.conf"))
        .env("OS_RELEASE", dir.join("os-release"))
        .env_remove("CHARDEV_DEBIAN_MIRROR")
        .output()
        .unwrap()
}

#[test]
fn the_mirror_is_the_one_that_apt_has() {
    let dir = std::env::temp_dir().join(format!("chardev-mirror-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let list = dir.join("mirrors");
    fs::write(
        &list,
        "# near\nhttps://near.invalid/debian/\tpriority:1\nhttps://far.invalid/\n",
    )
    .unwrap();
    let by_list = format!("deb mirror+file:{} bookworm main\n", list.display());
    for (sources, expected) in [
        (
            "deb http://other.invalid/x stable main\n\
             deb http://near.invalid/debian-security bookworm-security main\n\
             deb http://near.invalid/debian bookworm main contrib\n",
            "http://near.invalid/debian\n",
        ),
        (&by_list, "https://near.invalid/debian\n"),
    ] {
        let output = mirror(&dir, sources);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{output:?}"
        );
    }
    let none = mirror(&dir, "deb http://other.invalid/x stable main\n");
    assert!(!none.status.success());
    assert!(
        String::from_utf8_lossy(&none.stderr).contains("CHARDEV_DEBIAN_MIRROR"),
        "{none:?}"
    );
    fs::remove_dir_all(&dir).unwrap();
}

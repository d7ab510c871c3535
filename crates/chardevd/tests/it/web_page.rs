//! The web page in a browser: each of its test programs, with this build's daemon.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ended::Ended;

/// How long a program may take; only a hang reaches it, since each waits for things with a limit.
const LIMIT: Duration = Duration::from_secs(300);
/// Debian's.
const CHROMIUM: &str = "/usr/bin/chromium";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../chardev-web/page")
}

/// Runs `tests/NAME.spec.mjs` of the page; what it prints says what failed.
fn run(name: &str) {
    run_with(name, &[]);
}

/// The same in this environment.
fn run_with(name: &str, environment: &[(&str, String)]) {
    let modules = page().join("node_modules/playwright-core");
    assert!(
        modules.is_dir() && Path::new(CHROMIUM).exists(),
        "the page is tested with {CHROMIUM} and {}: run ./setup",
        modules.display()
    );
    let told = tempfile::NamedTempFile::new().expect("a file");
    let out = || {
        Stdio::from(
            File::options()
                .append(true)
                .open(told.path())
                .expect("a file"),
        )
    };
    let child = Command::new("node")
        .arg(format!("tests/{name}.spec.mjs"))
        .current_dir(page())
        .env("CHARDEVD", env!("CARGO_BIN_EXE_chardevd"))
        .env("CHARDEVCTL", env!("CARGO_BIN_EXE_chardevctl"))
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(out())
        .stderr(out())
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("node: {error}: run ./setup"));
    let mut child = Ended(child);
    let began = Instant::now();
    let status = loop {
        match child.0.try_wait().expect("a child") {
            None if began.elapsed() < LIMIT => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            status => break status,
        }
    };
    let mut words = String::new();
    let mut file = File::open(told.path()).expect("a file");
    file.read_to_string(&mut words).expect("text");
    assert!(
        status.is_some_and(|status| status.success()),
        "{name}: {status:?}\n{words}"
    );
    println!("{words}");
}

#[test]
fn who_comes_in_sees_types_pastes_and_changes() {
    run("page");
}

#[test]
fn every_byte_is_shown_once_whatever_becomes_of_the_connection() {
    run("stream");
}

#[test]
fn a_tab_sleeps_for_a_minute_and_goes_on() {
    run("asleep");
}

#[test]
fn consoles_are_wound_back_and_played() {
    run("past");
}

#[test]
fn two_users_may_what_their_roles_say() {
    run("roles");
}

#[test]
fn it_looks_well_and_can_be_used_by_everybody() {
    run("looks");
}

#[test]
fn firefox_shows_it_as_well() {
    run("firefox");
}

#[test]
fn its_terminal_shows_what_attach_shows() {
    run("screens");
}

#[cfg(feature = "fleet")]
#[test]
fn the_consoles_of_a_fleet_are_listed_and_lead_to_their_own_pages() {
    let servers = crate::fleet::servers::Servers::start();
    run_with("fleet", &[("FLEET", servers.addresses("nats").join(","))]);
}

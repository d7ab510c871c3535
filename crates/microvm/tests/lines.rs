//! The bare-metal guest prints and reads numbered lines at full speed while its console is changed.

mod common;

use std::process::Command;

use chardevd::ctl::demo::numbers::Random;
use chardevd::ctl::demo::peers::{Kind, Load};
use chardevd::ctl::demo::rig::{Report, Rig, Setup};

/// Every byte is an exit of the guest, so a thousand changes have to make do with less each than those
/// of a program.
const ENOUGH: u64 = 512;

fn start(ms_is_long: u64) -> Rig {
    let long = common::ticks_per_ms() * ms_is_long;
    let load = Load {
        kind: Kind::UnixServer,
        slow: false,
    };
    let command = |setup: &Setup<'_>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
        let report = setup.report.display();
        command
            .arg("--kernel")
            .arg(common::guest())
            .args(["--append", &format!("lines={long}")])
            .args(["-m", "16", "--chardev", setup.chardev])
            .args(["--serial", &format!("chardev:{}", setup.id)])
            .args(["--serial", &format!("file:{report},append=on")])
            .args(setup.monitors.iter().flat_map(|dev| ["--qmp", dev]));
        command
    };
    let mut rig = Rig::start_with(load, Some(2 * ENOUGH), command).unwrap();
    rig.set_enough(ENOUGH);
    rig
}

fn change_many(seed: u64, changes: usize, kinds: &[Kind], slow_ones: usize) -> Report {
    let mut random = Random::new(seed);
    let mut rig = start(10);
    let failed = |error: String| -> String { panic!("seed {seed}: {error}") };
    for _ in 0..changes {
        rig.wait_for_load().map_err(failed).unwrap();
        let kind = random.pick(kinds);
        let slow = slow_ones > 0 && random.one_in(slow_ones);
        rig.change(Load { kind, slow }).map_err(failed).unwrap();
    }
    while !matches!(rig.kind(), Kind::UnixServer | Kind::UnixClient) {
        rig.wait_for_load().map_err(failed).unwrap();
        let load = Load {
            kind: Kind::UnixClient,
            slow: false,
        };
        rig.change(load).map_err(failed).unwrap();
    }
    rig.wait_for_load().map_err(failed).unwrap();
    let report = rig.finish().map_err(failed).unwrap();
    assert!(report.is_clean(), "seed {seed}: {report:#?}");
    assert!(report.changes.len() >= changes);
    let seconds = report.time.as_secs_f64();
    println!(
        "{} changes in {seconds:.1} s; {} KB out, {} KB in; waits {:?} ({} ticks are a millisecond)",
        report.changes.len(),
        report.output.bytes >> 10,
        report.input.bytes >> 10,
        report.waits,
        common::ticks_per_ms(),
    );
    report
}

fn change_between_all(seed: u64) {
    if common::kvm() {
        change_many(seed, 500, &Kind::ALL, 16);
    }
}

#[test]
fn a_thousand_changes_lose_nothing_first_half() {
    change_between_all(1);
}

#[test]
fn a_thousand_changes_lose_nothing_second_half() {
    change_between_all(2);
}

/// The new back end takes output at once here, so every wait is the change's own or the machine's.
#[test]
fn a_change_does_not_stall_the_guest() {
    if !common::kvm() {
        return;
    }
    let ready = [Kind::File, Kind::UnixClient, Kind::TcpClient];
    let report = change_many(3, 200, &ready, 0);
    let waits = report.waits.expect("the guest measures its waits");
    // A busy machine may take the vCPU's processor away now and then; a change that stalls the guest
    // would do so every time.
    assert!(waits.long < 20, "{} of 200 changes: {waits:?}", waits.long);
}

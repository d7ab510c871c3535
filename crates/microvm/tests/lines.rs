//! The bare-metal guest prints and reads numbered lines at full speed while its console is changed.

mod common;

use std::process::Command;

use chardevd::ctl::demo::numbers::Random;
use chardevd::ctl::demo::peers::{Kind, Load};
use chardevd::ctl::demo::rig::{Report, Rig, Setup};

/// A byte over the UART is an exit of the guest, and where the machine emulates the guest every byte is
/// hundreds of emulated instructions: a thousand changes have to make do with less each than those of a
/// program.
const ENOUGH: u64 = 256;

/// What the guest's lines go over.
#[derive(Clone, Copy, Debug)]
enum Over {
    Uart,
    /// Port 0 of the virtio console, told to wait for its back end.
    Console,
    /// Port 1 of the virtio console.
    Generic,
}

impl Over {
    /// The words that the guest gets, and the device's arguments.
    fn arguments(self, id: &str) -> (&'static str, Vec<String>) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Over::Uart => ("", words(&["--serial", &format!("chardev:{id}")])),
            Over::Console => (
                " port=0",
                words(&["--serial", "null", "--virtio", &format!("{id},x-full=wait")]),
            ),
            Over::Generic => (
                " port=1",
                words(&[
                    "--serial",
                    "null",
                    "--virtio",
                    &format!("{id},name=org.test.0"),
                ]),
            ),
        }
    }
}

fn start(over: Over, ms_is_long: u64) -> Rig {
    let long = common::ticks_per_ms() * ms_is_long;
    let load = Load {
        kind: Kind::UnixServer,
        slow: false,
    };
    let command = |setup: &Setup<'_>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
        let report = setup.report.display();
        let (words, device) = over.arguments(setup.id);
        command
            .arg("--kernel")
            .arg(common::guest())
            .args(["--append", &format!("lines={long}{words}")])
            .args(["-m", "16", "--chardev", setup.chardev])
            .args(device)
            .arg("--chardev")
            .arg(format!("file,id=report,path={report},append=on"))
            .args(["--serial", "chardev:report"])
            .args(setup.monitors.iter().flat_map(|dev| ["--qmp", dev]));
        command
    };
    let mut rig = Rig::start_with(load, Some(ENOUGH), command).unwrap();
    rig.set_enough(ENOUGH);
    rig
}

fn change_many(over: Over, seed: u64, changes: usize, kinds: &[Kind], slow_ones: usize) -> Report {
    let mut random = Random::new(seed);
    let mut rig = start(over, 10);
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
        "{over:?}: {} changes in {seconds:.1} s; {} KB out, {} KB in; waits {:?} ({} ticks are a millisecond)",
        report.changes.len(),
        report.output.bytes >> 10,
        report.input.bytes >> 10,
        report.waits,
        common::ticks_per_ms(),
    );
    report
}

fn change_between_all(over: Over, seed: u64, changes: usize) {
    if common::kvm() {
        change_many(over, seed, changes, &Kind::ALL, 16);
    }
}

#[test]
fn a_thousand_changes_of_the_uart_lose_nothing_first_half() {
    change_between_all(Over::Uart, 1, 500);
}

#[test]
fn a_thousand_changes_of_the_uart_lose_nothing_second_half() {
    change_between_all(Over::Uart, 2, 500);
}

#[test]
fn a_thousand_changes_of_the_console_lose_nothing() {
    change_between_all(Over::Console, 4, 1000);
}

#[test]
fn a_thousand_changes_of_a_generic_port_lose_nothing() {
    change_between_all(Over::Generic, 5, 1000);
}

/// The new back end takes output at once here, so every wait is the change's own or the machine's.
#[test]
fn a_change_does_not_stall_the_guest() {
    if !common::kvm() {
        return;
    }
    let ready = [Kind::File, Kind::UnixClient, Kind::TcpClient];
    let report = change_many(Over::Uart, 3, 200, &ready, 0);
    let waits = report.waits.expect("the guest measures its waits");
    // A busy machine may take the vCPU's processor away now and then; a change that stalls the guest
    // would do so every time.
    assert!(waits.long < 20, "{} of 200 changes: {waits:?}", waits.long);
}

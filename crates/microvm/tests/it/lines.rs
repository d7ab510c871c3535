//! The bare-metal guest prints and reads numbered lines at full speed on all its ports at once,
//! while the consoles behind them are changed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common;
use chardev_load::LoadError;
use chardev_load::peers::{Kind, Load};
use chardev_load::random::Random;
use chardev_load::records::STOP;
use chardev_load::rig::{Report, Rig, Setup};

/// The ports, in the order of the guest's report.
const PORTS: [&str; 3] = ["16550A", "console port", "generic port"];
/// How much each peer moves both ways before it is replaced. A byte over the UART is an exit of the
/// guest, and where the machine emulates the guest every byte is dozens of emulated instructions.
const ENOUGH: u64 = 64;
/// How far the peers of a port may be ahead of the guest, which reads much slower than kernels
/// buffer: by how much a peer is ahead is still to be read when it is gone.
const AHEAD: [Option<u64>; 3] = [Some(2 << 10), Some(16 << 10), Some(16 << 10)];

/// Starts a machine with a console behind each of its ports. Its guest waits for a transmitter for
/// `ms_is_long` or longer when it says that it waited long.
fn start(dir: &Path, ms_is_long: u64) -> Vec<Rig> {
    let long = common::ticks_per_ms() * ms_is_long;
    let first = Load {
        kind: Kind::UnixServer,
        slow: false,
    };
    let report = dir.join("report");
    let listener = UnixListener::bind(&report).unwrap();
    let command = |setups: &[Setup]| {
        let reports = setups.iter().map(|setup| setup.report.clone()).collect();
        std::thread::spawn(move || sort_report(&listener, reports));
        let mut command = Command::new(env!("CARGO_BIN_EXE_microvm"));
        command
            .arg("--kernel")
            .arg(common::guest())
            .args(["--append", &format!("lines={long} all=1"), "-m", "16"])
            .arg("--chardev")
            .arg(format!("socket,id=report,path={}", report.display()));
        for setup in setups {
            command.args(["--chardev", &setup.chardev]);
            let monitors = setup.monitors.iter();
            command.args(monitors.flat_map(|device| ["--qmp", device]));
        }
        let [uart, console, generic] = [0, 1, 2].map(|port: usize| &setups[port].id);
        command.args(["--serial", &format!("chardev:{uart}")]);
        command.args(["--serial", "chardev:report"]);
        command.args(["--virtio", &format!("{console},x-full=wait")]);
        command.args(["--virtio", &format!("{generic},name=org.test.0")]);
        command
    };
    let mut rigs = Rig::start_many(&AHEAD, first, command).unwrap();
    rigs.iter_mut().for_each(|rig| rig.set_enough(ENOUGH));
    rigs
}

/// Gives every port's lines of the guest's one report to the console they are about.
fn sort_report(listener: &UnixListener, reports: Vec<PathBuf>) {
    let open = |path| File::options().write(true).open(path).unwrap();
    let mut reports: Vec<File> = reports.iter().map(open).collect();
    let (stream, _) = listener.accept().unwrap();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        let (port, fact) = line.split_once(' ').unwrap();
        let report = &mut reports[port.parse::<usize>().unwrap()];
        // Whoever reads it may have given up.
        let _ = writeln!(report, "{fact}");
    }
}

/// Changes one console `changes` times, and then until its peer is one that can be the last.
fn change_many(rig: &mut Rig, seed: u64, changes: usize, kinds: &[Kind], slow_ones: usize) {
    let mut random = Random::new(seed);
    let failed = |error: LoadError| -> String { panic!("seed {seed}: {error}") };
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
    rig.stop().map_err(failed).unwrap();
}

/// Changes the consoles of all ports at the same time, and counts.
fn change_all(mut rigs: Vec<Rig>, changes: usize, kinds: &[Kind], slow_ones: usize) {
    std::thread::scope(|scope| {
        for (seed, rig) in (1..).zip(&mut rigs) {
            scope.spawn(move || change_many(rig, seed, changes, kinds, slow_ones));
        }
    });
    rigs[0].quit().unwrap();
    for (rig, port) in rigs.into_iter().zip(PORTS) {
        check(&rig.count().unwrap(), port, changes);
    }
}

fn check(report: &Report, port: &str, changes: usize) {
    assert!(report.is_clean(), "{port}: {report:#?}");
    assert!(report.changes.len() >= changes);
    // The guest has seen every byte that was read for it, and no other. What a peer had sent when
    // its change was asked for is among them: that is part of a clean report.
    let seen = report.input.bytes + STOP.len() as u64;
    assert_eq!(seen, report.delivered, "{port}");
    assert!(
        report.delivered + report.late <= report.sent,
        "{port}: {report:#?}"
    );
    println!(
        "{port}: {} changes in {:.1} s; {} KB out, {} KB in, {} bytes late; waits {:?} ({} ticks are a ms)",
        report.changes.len(),
        report.time.as_secs_f64(),
        report.output.bytes >> 10,
        report.input.bytes >> 10,
        report.late,
        report.waits,
        common::ticks_per_ms(),
    );
}

#[test]
fn a_thousand_changes_of_every_port_at_once_lose_nothing() {
    if common::kvm() {
        let dir = tempfile::tempdir().unwrap();
        change_all(start(dir.path(), 10), 1000, &Kind::ALL, 16);
    }
}

//! What a second I/O thread brings: our daemon with one, with two, and with what it has by default,
//! in alternation, with consoles that are logged line by line, and with relays of large pieces.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use super::logs::{self, FEW};
use super::relay::{BLOCK, GIB, STALL_TIMEOUT, consume, produce};
use super::relays::Relays;
use super::{Programs, report};
use crate::sh::Result;

/// How many relays there are.
const RELAYS: usize = 8;
/// How many I/O threads there may be, as the command line has it.
const NUMBERS: [(&str, &[&str]); 3] = [
    ("1", &["--io-threads", "1"]),
    ("2", &["--io-threads", "2"]),
    ("default", &[]),
];

pub(crate) fn table(programs: &Programs, gib: u64, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let mut consoles = NUMBERS.map(|_| Vec::new());
    let mut relays = NUMBERS.map(|_| Vec::new());
    for round in 1..=rounds {
        eprintln!("xtask: I/O threads, round {round} of {rounds}");
        for (at, (_, options)) in NUMBERS.iter().enumerate() {
            let logged = logs::measure(FEW, |bed| logs::start_chardevd(chardevd, bed, options))?;
            consoles[at].push(Sample {
                mb_per_s: logged.mb_per_s,
                cpu_s_per_gb: logged.cpu_s_per_gb,
            });
            relays[at].push(relay(chardevd, options, gib)?);
        }
    }
    let mut rows = Vec::new();
    for (what, samples) in [
        (
            format!("{FEW} logged consoles, lines of 100 bytes"),
            consoles,
        ),
        (format!("{RELAYS} relays, blocks of 256 KiB"), relays),
    ] {
        for (at, (number, _)) in NUMBERS.iter().enumerate() {
            rows.push(row(&format!("{what}: {number}"), &samples[at], &samples[0]));
        }
    }
    let title = format!("I/O threads, median of {rounds} rounds");
    let header = [
        "what, and how many I/O threads",
        "MB/s",
        "with one = 1",
        "CPU s per GB",
        "with one = 1",
    ];
    Ok(report::table(&title, &header, &rows))
}

struct Sample {
    mb_per_s: f64,
    cpu_s_per_gb: f64,
}

/// The ratios are medians of those within a round.
fn row(name: &str, samples: &[Sample], of_one: &[Sample]) -> Vec<String> {
    let of = |value: fn(&Sample) -> f64| {
        let both = samples.iter().zip(of_one);
        let ratios = both.map(|(sample, one)| value(sample) / value(one));
        [
            logs::median(samples.iter().map(value)),
            logs::median(ratios),
        ]
    };
    let [speed, speed_ratio] = of(|sample| sample.mb_per_s);
    let [cpu, cpu_ratio] = of(|sample| sample.cpu_s_per_gb);
    vec![
        name.to_owned(),
        format!("{speed:.0}"),
        format!("{speed_ratio:.2}"),
        format!("{cpu:.2}"),
        format!("{cpu_ratio:.2}"),
    ]
}

/// Moves `gib` GiB in all through relays that work at the same time.
fn relay(chardevd: &Path, options: &[&str], gib: u64) -> Result<Sample> {
    let mut command = Command::new(chardevd);
    command.args(options);
    let relays = Relays::start(command, RELAYS)?;
    for output in &relays.outputs {
        output.set_read_timeout(Some(STALL_TIMEOUT))?;
    }
    let ends = relays.inputs.iter().zip(&relays.outputs);
    let each = gib * GIB / RELAYS as u64;
    let before = logs::cpu(&relays.server)?;
    let began = Instant::now();
    thread::scope(|scope| {
        let mut consumers = Vec::new();
        for (input, mut output) in ends {
            scope.spawn(move || produce(input, &[b'x'; BLOCK], each));
            consumers
                .push(scope.spawn(move || consume(&mut output, each).map_err(|e| e.to_string())));
        }
        let mut all = consumers.into_iter().map(|it| it.join());
        all.try_for_each(|consumed| consumed.map_err(|_| "a consumer panicked".to_owned())?)
    })?;
    let (took, after) = (began.elapsed(), logs::cpu(&relays.server)?);
    let gb = (each * RELAYS as u64) as f64 / 1e9;
    Ok(Sample {
        mb_per_s: gb * 1e3 / took.as_secs_f64(),
        cpu_s_per_gb: (after - before).as_secs_f64() / gb,
    })
}

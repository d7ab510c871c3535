//! Many consoles for minutes, everything at random: what `cargo xtask soak` does for an hour.
//!
//! `CHARDEV_SOAK_SECONDS` and `CHARDEV_SOAK_CONSOLES` say how long and how many; without them it is
//! short, and the consoles are few.

use std::time::Duration;

use chardev_load::soak::{Setup, run};

#[test]
fn every_byte_of_many_consoles_is_accounted_for_and_nothing_grows() {
    let setting = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let setup = Setup {
        daemon: env!("CARGO_BIN_EXE_chardevd").into(),
        consoles: setting("CHARDEV_SOAK_CONSOLES").unwrap_or(100) as usize,
        time: Duration::from_secs(setting("CHARDEV_SOAK_SECONDS").unwrap_or(15)),
        seed: setting("CHARDEV_SOAK_SEED").unwrap_or_else(|| std::process::id().into()),
        // What runs beside it needs the machine as well.
        share: 15,
    };
    let soaked = run(&setup, &mut |line| println!("{line}"));
    let report = soaked.unwrap_or_else(|error| panic!("CHARDEV_SOAK_SEED={}: {error}", setup.seed));
    println!("{report}");
    assert!(report.rounds > 5 && report.changes > 0 && report.attached > 0 && report.viewed > 0);
    assert!(report.came > 0 && report.transactions > 0 && report.logged > 0);
}

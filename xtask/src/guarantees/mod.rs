//! `cargo xtask guarantees`: the tables of docs/guarantees.md. The walk of all states is a test of
//! the crate `chardev`; beside it the same changes are made in an installed QEMU and in our daemon,
//! each with a program that counts, and what is missing in the count is what was lost.

mod session;

use std::fs;

use crate::server;
use crate::sh::{self, Result};
use session::{Kind, Session, State};

/// Changes in each cell and state.
const CHANGES: usize = 5;
const BEGIN: &str = "<!-- beside QEMU: begin -->\n";
const END: &str = "<!-- end -->";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Put the tables into docs/guarantees.md
    #[arg(long)]
    write: bool,
    /// Leave out the walk of all states, which takes a minute or more
    #[arg(long)]
    only_qemu: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    if !args.only_qemu {
        let mut walk = sh::cargo(&["test", "--package", "chardev", "--test", "it"]);
        walk.args(["states::", "--", "--test-threads=1"]);
        walk.env("CHARDEV_ROUNDS", "80");
        if args.write {
            walk.env("CHARDEV_WRITE_TABLES", "1");
        }
        sh::run(&mut walk)?;
    }
    let qemu = server::qemu()?;
    let chardevd = server::build_chardevd("dev")?;
    let version = sh::output(std::process::Command::new(&qemu).arg("--version"))?;
    let mut text = format!(
        "{CHANGES} changes in each cell, {}: bytes missing in all / times silent for good.\n\n\
         | old peer, old → new | QEMU | QEMU on chardevd | chardevd |\n| --- | --: | --: | --: |\n",
        version.lines().next().unwrap_or("QEMU")
    );
    let programs = [
        Session::Qemu(qemu.clone()),
        Session::Both {
            chardevd: chardevd.clone(),
            qemu,
        },
        Session::Chardevd(chardevd),
    ];
    for state in [State::Reads, State::Stalled] {
        for old in Kind::ALL.into_iter().filter(|kind| state.can_be(*kind)) {
            for new in Kind::ALL {
                eprintln!("xtask: {} {} to {}", state.name(), old.name(), new.name());
                let mut row = format!("| {}, {} → {} |", state.name(), old.name(), new.name());
                for program in &programs {
                    let loss = session::measure(program, state, (old, new), CHANGES)?;
                    row += &format!(" {} / {} |", loss.bytes, loss.silences);
                }
                text += &row;
                text.push('\n');
            }
        }
    }
    println!("{text}");
    if args.write { write(&text) } else { Ok(()) }
}

fn write(table: &str) -> Result {
    let path = sh::root().join("docs/guarantees.md");
    let old = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let parts = old
        .split_once(BEGIN)
        .and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) =
        parts.ok_or_else(|| format!("{}: put the markers where the table goes", path.display()))?;
    fs::write(&path, format!("{head}{BEGIN}\n{table}\n{END}{tail}"))?;
    eprintln!("xtask: wrote the table into {}", path.display());
    crate::plot::write()
}

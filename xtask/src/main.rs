//! `cargo xtask`: the one way to run the checks, the peers and the measurements of this workspace.
#![forbid(unsafe_code)]

mod back_ends;
mod bench;
mod book;
mod ci;
mod costs;
mod fleet;
mod fuzz;
mod guarantees;
mod interop;
mod man;
mod model;
mod mutants;
mod package;
mod plot;
mod qmp;
mod reference;
mod server;
mod sh;
mod soak;
mod test;
mod wait;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Checks, peers and measurements of this workspace"
)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must pass before a merge
    Ci(ci::Args),
    /// Look at the format, the lints and the documentation
    Lint,
    /// Look at the rules of sources and documents that need no build of the rest
    Tidy,
    /// Build the workspace and run every test, the peers included
    Test,
    /// Run the Python peers of tests/interop
    Interop(interop::Args),
    /// Fuzz for a while, or replay the fuzz bodies on stable; it says which
    Fuzz(fuzz::Args),
    /// Run the core's threads in thousands of orders
    Model,
    /// Change the core in small ways and see whether a test notices
    Mutants(mutants::Args),
    /// Walk every change in every state of the old peer, and the same changes in QEMU
    Guarantees(guarantees::Args),
    /// Write the lists of all back ends and their options
    BackEnds,
    /// Draw what was measured, from the tables in the documents
    Plot(plot::Args),
    /// Write the reference of the configuration, the command lines and QMP
    Reference,
    /// Make pages of the documentation, with mdbook
    Book,
    /// Write the manual pages
    Man(man::Args),
    /// Build the Debian package and try it in a fresh tree
    Package,
    /// A thousand consoles for an hour: every byte counts, and nothing may grow
    Soak(soak::Args),
    /// Sixty daemons and three servers to which everything happens: every byte is read back
    Fleet(fleet::Args),
    /// Count what pieces of work cost, and compare with docs/costs.toml
    Costs(costs::Args),
    /// Measure beside an installed QEMU and socat
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Ci(args) => ci::run(&args),
        Task::Lint => ci::run_lint(),
        Task::Tidy => ci::run_tidy(),
        Task::Test => test::run(),
        Task::Interop(args) => interop::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Model => model::run(),
        Task::Mutants(args) => mutants::run(&args),
        Task::Guarantees(args) => guarantees::run(&args),
        Task::BackEnds => back_ends::run(),
        Task::Plot(args) => plot::run(&args),
        Task::Reference => reference::run(),
        Task::Book => book::run(),
        Task::Man(args) => man::run(&args),
        Task::Package => package::run(),
        Task::Soak(args) => soak::run(&args),
        Task::Fleet(args) => fleet::run(&args),
        Task::Costs(args) => costs::run(&args),
        Task::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Pieces of work whose costs can be counted, and are the same each time: `cargo xtask costs` runs
//! this and compares.
//!
//! - `chardev-costs allocations` prints how often each operation of a chardev allocates.
//! - `chardev-costs list` prints the names of the pure parts, `chardev-costs run NAME COUNT` does
//!   one so often, for a counter of instructions.

mod counted;
mod operations;
mod pure;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: counted::Counted = counted::Counted;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["allocations"] => operations::print(),
        ["list"] => pure::ALL.iter().for_each(|(name, _)| println!("{name}")),
        ["run", name, count] => {
            let work = pure::ALL.iter().find(|(known, _)| *known == name);
            let (Some((_, work)), Ok(count)) = (work, count.parse()) else {
                eprintln!("no such work: {name} {count}");
                return ExitCode::FAILURE;
            };
            work(count);
        }
        _ => {
            eprintln!("usage: chardev-costs allocations | list | run NAME COUNT");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

//! The configuration file: consoles by name, and whatever QEMU's spelling can say.
//!
//! ```text
//!  FILE, conf.d ─▶ read ─▶ expand ─▶ console, raw ─▶ Wanted ─▶ keeper ─▶ chardevs, devices
//! ```

mod backend;
mod beside;
mod check;
mod clash;
mod commands;
mod console;
mod device;
mod diff;
mod errors;
mod expand;
mod item;
mod keeper;
mod keys;
mod log;
mod names;
mod order;
mod raw;
mod read;
mod reload;
mod report;
mod runner;
mod schema;
mod source;
mod table;
mod values;
mod verdict;

use std::path::Path;
use std::sync::Arc;

use chardev::spec::KindSpec;

use self::backend::Reader;
pub(crate) use self::commands::{Asked, Config};
use self::errors::Mistakes;
use self::item::Wanted;
pub(crate) use self::keeper::Keeper;
pub(crate) use self::runner::Runner;
pub(crate) use self::schema::schema;
pub(crate) use self::verdict::check;

/// Reads the configuration that begins with `file`, for back ends of these kinds. Waits for the
/// disk.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load(file: &Path, kinds: &[&'static KindSpec]) -> Result<Wanted, Mistakes> {
    let mut mistakes = Mistakes::default();
    let sections = read::read(file, &mut mistakes);
    let written = expand::expand(&sections, &mut mistakes);
    let mut wanted = Wanted::default();
    let mut reader = Reader {
        kinds,
        mistakes: &mut mistakes,
    };
    let chardevs = sections.chardevs.iter();
    let mut items: Vec<_> = chardevs
        .filter_map(|entry| raw::chardev(entry, &mut reader))
        .collect();
    items.extend(
        written
            .iter()
            .filter_map(|written| console::item(written, &mut reader)),
    );
    let devices = sections.devices.iter();
    items.extend(devices.filter_map(|value| raw::device(value, &mut reader)));
    let lines = items.iter().filter_map(|item| item.device.clone());
    let lines: Arc<[String]> = lines.filter(|line| line.contains("bus=")).collect();
    for item in &mut items {
        item.ports = Arc::clone(&lines);
    }
    wanted.items = order::stages(items).into_iter().flatten().collect();
    for value in &sections.objects {
        raw::object(value, &mut wanted, &mut reader);
    }
    let monitors = sections.monitors.iter().enumerate();
    let monitors = monitors.filter_map(|(at, value)| raw::monitor(value, at, &mut reader));
    wanted.monitors = monitors.collect();
    clash::find(&wanted, &mut mistakes);
    mistakes.or(wanted)
}

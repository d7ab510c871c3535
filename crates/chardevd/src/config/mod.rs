//! The configuration file: consoles by name, and whatever QEMU's spelling can say.
//!
//! ```text
//!  FILE, conf.d ─▶ read ─▶ expand ─▶ console, raw ─▶ Wanted ─▶ keeper ─▶ chardevs, devices
//! ```

mod access;
mod auth;
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
mod fleet;
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
mod web;

pub(crate) use backend::keys_of;
use std::path::Path;
use std::sync::Arc;

use chardev::spec::KindSpec;

use self::backend::Reader;
pub(crate) use self::commands::{Asked, Config};
use self::errors::Mistakes;
use self::item::Wanted;
pub(crate) use self::keeper::Keeper;
use self::read::Sections;
pub(crate) use self::runner::Runner;
pub(crate) use self::schema::schema;
pub(crate) use self::table::{State, Table};
pub(crate) use self::verdict::check;

/// Reads the configuration that begins with `file`, for back ends of these kinds; relative paths in
/// it start at `directory`. Waits for the disk.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load(
    file: &Path,
    directory: &Path,
    kinds: &[&'static KindSpec],
) -> Result<Wanted, Mistakes> {
    let mut mistakes = Mistakes::default();
    let sections = read::read(file, &mut mistakes);
    let mut wanted = understand(&sections, kinds, &mut mistakes);
    let start: Arc<Path> = directory.into();
    let items = wanted.items.iter_mut().flat_map(|item| &mut item.chardevs);
    for part in items {
        part.options.start_paths_at(Arc::clone(&start));
    }
    for options in wanted
        .monitors
        .iter_mut()
        .filter_map(|it| it.options.as_mut())
    {
        options.start_paths_at(Arc::clone(&start));
    }
    wanted.web = wanted.web.map(|page| web::within(page, directory));
    wanted.fleet = wanted.fleet.map(|it| fleet::within(it, directory));
    wanted.metrics = wanted.metrics.map(|address| address.within(directory));
    wanted.tokens = wanted.tokens.map(|file| directory.join(file));
    mistakes.or(wanted)
}

/// What these sections come to, as far as they are good.
fn understand(sections: &Sections, kinds: &[&'static KindSpec], mistakes: &mut Mistakes) -> Wanted {
    let written = expand::expand(sections, mistakes);
    let mut wanted = Wanted::default();
    let mut reader = Reader { kinds, mistakes };
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
    let tokens = sections.tokens.as_ref();
    wanted.tokens = tokens.map(|value| raw::tokens(value, &mut reader));
    let monitors = sections.monitors.iter().enumerate();
    let monitors = monitors.filter_map(|(at, value)| raw::monitor(value, at, &wanted, &mut reader));
    wanted.monitors = monitors.collect();
    let daemon = sections.daemon.as_ref();
    wanted.io_threads = daemon.and_then(|value| raw::io_threads(value, &mut reader));
    let metrics = sections.metrics.as_ref();
    wanted.metrics = metrics.and_then(|value| raw::metrics(value, &mut reader));
    let page = sections.web.as_ref();
    wanted.web = page.and_then(|value| web::settings(value, reader.mistakes));
    let fleet = sections.fleet.as_ref();
    wanted.fleet = fleet.and_then(|value| fleet::settings(value, reader.mistakes));
    let accesses = sections.accesses.iter();
    let grants = accesses.filter_map(|value| access::grant(value, &wanted.items, mistakes));
    wanted.access = (!sections.accesses.is_empty()).then(|| grants.collect());
    clash::find(&wanted, mistakes);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with `text`, of which everything has a place; or how many items it has.
    fn understood(text: &str) -> Result<usize, Mistakes> {
        let mut mistakes = Mistakes::default();
        let mut sections = Sections::default();
        sections.add(values::parse("f", 0, text, &mut mistakes), &mut mistakes);
        let wanted = understand(&sections, &crate::kinds::specs(), &mut mistakes);
        mistakes.or(wanted.items.len())
    }

    #[test]
    fn whatever_is_written_is_understood_or_refused_with_a_place() {
        let docs = include_str!("../../../../docs/configuration.md");
        let mut blocks = docs.split("```toml\n").skip(1);
        let good = blocks.next().and_then(|text| text.split("```").next());
        let good = good.expect("a lab's file");
        assert_eq!(understood(good).expect("it is good"), 54);
        let mut refused = 0;
        // Half a file, a file without one line, and one with a character in the wrong place.
        let cuts = good
            .char_indices()
            .step_by(31)
            .map(|(at, _)| good[..at].to_owned());
        let lines = good.lines().count();
        let without = (0..lines).map(|out| {
            let kept = good.lines().enumerate().filter(|(at, _)| *at != out);
            kept.map(|(_, line)| format!("{line}\n")).collect()
        });
        let odd = good
            .char_indices()
            .step_by(23)
            .zip("\"[{=,'\\#0é\n}]".chars().cycle());
        let wrong = odd.map(|((at, _), c)| format!("{}{c}{}", &good[..at], &good[at..]));
        for text in cuts.chain(without).chain(wrong) {
            if let Err(mistakes) = understood(&text) {
                refused += 1;
                let said = mistakes.to_string();
                assert!(said.starts_with("f:"), "{said}");
            }
        }
        assert!(refused > 80, "{refused}");
    }
}

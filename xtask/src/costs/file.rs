//! docs/costs.toml: the numbers that were accepted, and what differs from them.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use crate::sh::Result;

const HEAD: &str = "\
# What pieces of work cost, by counts that are the same on each machine. `cargo xtask costs` compares,
# and so does `cargo xtask test`; what it finds is accepted with `cargo xtask costs --write`.
";

/// What is counted, and how much dearer it may be: by a share of it, and some besides.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    share: f64,
    besides: f64,
}

pub(super) const SECTIONS: [Section; 3] = [
    Section {
        name: "system-calls",
        title: "system calls of the daemon",
        // A thread that wakes at another moment asks once more or less.
        share: 0.5,
        besides: 1.0,
    },
    Section {
        name: "allocations",
        title: "allocations",
        share: 0.15,
        besides: 0.05,
    },
    Section {
        name: "instructions",
        title: "instructions, of a build with optimizations",
        share: 0.15,
        besides: 20.0,
    },
];

/// The counts of a section, by name.
pub(super) type Counts = Vec<(String, f64)>;

/// As a file.
pub(super) fn to_text(all: &[Counts; 3]) -> String {
    let mut text = HEAD.to_owned();
    for (section, counts) in SECTIONS.iter().zip(all) {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n[{}]\n", section.name);
        for (name, count) in counts {
            let _ = writeln!(text, "\"{name}\" = {}", shown(*count));
        }
    }
    text
}

/// From a file.
pub(super) fn parse(text: &str) -> Result<[Counts; 3]> {
    let table = DeTable::parse(text).map_err(|error| format!("docs/costs.toml: {error}"))?;
    let mut all: [Counts; 3] = Default::default();
    for (section, counts) in SECTIONS.iter().zip(&mut all) {
        let Some(entries) = table.get_ref().get(section.name) else {
            continue;
        };
        let DeValue::Table(entries) = entries.get_ref() else {
            return Err(format!("docs/costs.toml: [{}] is no table", section.name).into());
        };
        for (name, value) in entries {
            let count = match value.get_ref() {
                DeValue::Float(count) => count.as_str().parse().ok(),
                DeValue::Integer(count) => count.as_str().parse().ok(),
                _ => None,
            };
            let count =
                count.ok_or_else(|| format!("docs/costs.toml: {} is no number", name.get_ref()))?;
            counts.push((name.get_ref().to_string(), count));
        }
    }
    Ok(all)
}

/// What is dearer than it may be, in words. What is cheaper is no fault; whoever made it so accepts
/// it.
pub(super) fn differences(section: &Section, was: &Counts, is: &Counts) -> Vec<String> {
    let find = |counts: &Counts, name: &str| {
        let entry = counts.iter().find(|(known, _)| known == name);
        entry.map(|(_, count)| *count)
    };
    let mut all = Vec::new();
    for (name, is) in is {
        let Some(was) = find(was, name) else {
            all.push(format!("{}: {name}: {} is new", section.name, shown(*is)));
            continue;
        };
        if *is > was * (1.0 + section.share) + section.besides {
            let by = if was > 0.0 {
                (is / was - 1.0) * 100.0
            } else {
                100.0
            };
            let (is, was) = (shown(*is), shown(was));
            all.push(format!(
                "{}: {name}: {is} instead of {was} ({by:+.1} %)",
                section.name
            ));
        }
    }
    for (name, _) in was {
        if find(is, name).is_none() {
            all.push(format!("{}: {name}: is not counted any more", section.name));
        }
    }
    all
}

/// As rows of a table in a document.
pub(super) fn rows(all: &[Counts; 3]) -> Vec<Vec<String>> {
    let sections = SECTIONS.iter().zip(all);
    let rows = sections.flat_map(|(section, counts)| {
        let row = |(name, count): &(String, f64)| {
            let name = name.replace('|', "\\|");
            vec![name, section.title.to_owned(), shown(*count)]
        };
        counts.iter().map(row)
    });
    rows.collect()
}

/// Large counts whole, others to a tenth.
fn shown(count: f64) -> String {
    match count < 100.0 {
        true => format!("{count:.1}"),
        false => format!("{count:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{SECTIONS, differences, parse, to_text};

    #[test]
    fn what_is_written_is_read_and_differs_in_nothing() {
        let all = [
            vec![("a call".to_owned(), 12.3)],
            vec![("none".to_owned(), 0.0)],
            vec![("many: of it".to_owned(), 123_456.0)],
        ];
        let read = parse(&to_text(&all)).unwrap();
        assert_eq!(read, all);
        for ((section, was), is) in SECTIONS.iter().zip(&all).zip(&read) {
            assert_eq!(differences(section, was, is), Vec::<String>::new());
        }
    }

    #[test]
    fn more_than_may_be_is_told_by_how_much_and_less_is_not() {
        let counts = |count: f64| vec![("work".to_owned(), count)];
        let [calls, allocations, _] = &SECTIONS;
        for count in [1.0, 15.9] {
            assert!(differences(calls, &counts(10.0), &counts(count)).is_empty());
        }
        let found = differences(calls, &counts(10.0), &counts(16.1));
        assert!(
            found.len() == 1 && found[0].ends_with("16.1 instead of 10.0 (+61.0 %)"),
            "{found:?}"
        );
        assert_eq!(
            differences(allocations, &counts(0.0), &counts(0.1)).len(),
            1
        );
        assert_eq!(differences(calls, &counts(1.0), &Vec::new()).len(), 1);
        assert_eq!(differences(calls, &Vec::new(), &counts(1.0)).len(), 1);
    }
}

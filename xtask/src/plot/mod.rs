//! `cargo xtask plot`: pictures of what `bench` and `guarantees` have measured. They are drawn from
//! the tables which those put into the documents, so that there is one place for each number.

mod svg;

use std::fs;
use std::path::Path;

use crate::sh::{self, Result};
use svg::{Bar, Plot, Row};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only see whether the pictures are current
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.check { draw(look) } else { write() }
}

/// Draws all pictures anew, after the tables have changed.
pub(crate) fn write() -> Result {
    draw(|path, drawn| {
        fs::write(path, drawn)?;
        eprintln!("xtask: drew {}", path.display());
        Ok(())
    })
}

fn look(path: &Path, drawn: &str) -> Result {
    if fs::read_to_string(path).ok().as_deref() == Some(drawn) {
        return Ok(());
    }
    let path = path.display();
    Err(format!("{path} is not current: run cargo xtask plot").into())
}

fn draw(with: fn(&Path, &str) -> Result) -> Result {
    let read = |name: &str| fs::read_to_string(sh::root().join(name));
    let performance = read("docs/performance.md")?;
    let guarantees = read("docs/guarantees.md")?;
    for (name, plot) in [
        ("losses", losses(&guarantees)?),
        ("latency", latency(&performance)?),
        ("beside", beside(&performance)?),
        ("scale", scale(&performance)?),
    ] {
        let path = sh::root().join(format!("docs/plot-{name}.svg"));
        with(&path, &plot.draw())?;
    }
    Ok(())
}

/// Bytes that were missing after a change, beside QEMU.
fn losses(document: &str) -> Result<Plot> {
    let mut rows = Vec::new();
    for cells in table(document, "old peer, old → new")? {
        let [change, qemu, _, ours] = &cells[..] else {
            return Err(format!("not four columns: {cells:?}").into());
        };
        let bars = [missing(qemu)?, missing(ours)?];
        if bars.iter().any(|(bytes, silent)| bytes + silent > 0.0) {
            let bars = bars.map(|(bytes, silent)| match silent > 0.0 {
                true => Bar::failed(format!("silent for good, {silent} times of 5")),
                false => Bar::new(bytes, grouped(bytes)),
            });
            rows.push(Row {
                label: change.clone(),
                bars: bars.into(),
            });
        }
    }
    Ok(Plot {
        title: "Bytes missing in all after five changes under full output",
        note: "Logarithmic. Changes after which neither missed anything are left out.",
        series: &["QEMU", "chardevd"],
        logarithmic: true,
        limit: None,
        rows,
    })
}

/// `BYTES / TIMES` as numbers.
fn missing(cell: &str) -> Result<(f64, f64)> {
    let (bytes, silent) = cell.split_once(" / ").ok_or("no 'bytes / times'")?;
    Ok((bytes.parse()?, silent.parse()?))
}

/// How long a change takes, beside QEMU.
fn latency(document: &str) -> Result<Plot> {
    let mut rows = Vec::new();
    for cells in table(document, "load, change to")? {
        // The last row counts something else.
        let Some(all) = cells.get(1..3).filter(|_| !cells[0].contains("MiB")) else {
            continue;
        };
        let bars = all.iter().map(|cell| {
            let mut shares = cell.split(" / ").map(str::parse);
            let (Some(Ok(half)), Some(Ok(most))) = (shares.next(), shares.next()) else {
                return Err(format!("not 'p50 / p99 / max': {cell}").into());
            };
            Ok(Bar::new(half, format!("{half:.2}, p99 {most:.2}")).up_to(most))
        });
        let bars = bars.collect::<Result<Vec<_>>>()?;
        rows.push(Row {
            label: cells[0].clone(),
            bars,
        });
    }
    Ok(Plot {
        title: "How long a change of back end takes, in ms",
        note: "The bar is the median, the line ends at the 99th percentile.",
        series: &["QEMU", "chardevd"],
        logarithmic: false,
        limit: None,
        rows,
    })
}

/// What a relay feels of large things beside it.
fn beside(document: &str) -> Result<Plot> {
    let mut rows = Vec::new();
    for cells in table(document, "beside")? {
        let [what, _, worst, _] = &cells[..] else {
            return Err(format!("not four columns: {cells:?}").into());
        };
        let bar = Bar::new(worst.parse()?, worst.clone());
        rows.push(Row {
            label: what.clone(),
            bars: vec![bar],
        });
    }
    Ok(Plot {
        title: "Worst round trip of an unrelated relay, in ms, beside",
        note: "The dashed line is the 20 ms that were wanted.",
        series: &["chardevd"],
        logarithmic: false,
        limit: Some(20.0),
        rows,
    })
}

/// How long things take with many chardevs, beside QEMU.
fn scale(document: &str) -> Result<Plot> {
    let mut counts: Vec<(String, [Option<[f64; 2]>; 2])> = Vec::new();
    for cells in table(document, "chardevs with a peer")? {
        let [what, _, add, query, _] = &cells[..] else {
            return Err(format!("not five columns: {cells:?}").into());
        };
        let (count, whose) = what.split_once(": ").ok_or("no 'count: whose'")?;
        if counts.last().is_none_or(|(last, _)| last != count) {
            counts.push((count.to_owned(), [None, None]));
        }
        let Some((_, both)) = counts.last_mut() else {
            continue;
        };
        let query = query.parse::<f64>()? * 1e3;
        both[usize::from(whose != "QEMU")] = Some([add.parse()?, query]);
    }
    let rows = ["add a further one", "query-chardev"].iter().enumerate();
    let rows = rows.flat_map(|(at, what)| {
        counts.iter().map(move |(count, both)| Row {
            label: format!("{what}, {count} chardevs"),
            bars: both
                .iter()
                .map(|times| match times {
                    Some(times) => Bar::new(times[at], grouped(times[at])),
                    None => Bar::failed("not measured".into()),
                })
                .collect(),
        })
    });
    Ok(Plot {
        title: "How long it takes with many chardevs, in µs",
        note: "Logarithmic. Each is a listening socket with a peer.",
        series: &["QEMU", "chardevd"],
        logarithmic: true,
        limit: None,
        rows: rows.collect(),
    })
}

/// The rows of the table whose first heading is `first`.
fn table(document: &str, first: &str) -> Result<Vec<Vec<String>>> {
    let begin = format!("| {first} |");
    let mut lines = document
        .lines()
        .skip_while(|line| !line.starts_with(&begin));
    let _header = lines
        .next()
        .ok_or_else(|| format!("there is no table '{first}'"))?;
    let rows = lines.skip(1).map_while(|line| {
        let row = line.strip_prefix("| ")?.trim_end().strip_suffix('|')?;
        Some(row.split('|').map(|cell| cell.trim().to_owned()).collect())
    });
    Ok(rows.collect())
}

/// A whole number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

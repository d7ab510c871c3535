//! Tables in Markdown, and their place in docs/performance.md.

use std::fs;

use crate::sh::{self, Result};

const END: &str = "<!-- end -->";

/// Lays out rows under a heading; the first column is text, the others are numbers.
pub(crate) fn table(title: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("\n### {title}\n\n| {} |\n|", header.join(" | "));
    for column in 0..header.len() {
        text += if column == 0 { " --- |" } else { " --: |" };
    }
    for row in rows {
        text += &format!("\n| {} |", row.join(" | "));
    }
    text + "\n"
}

/// The table with `when` it was measured under its heading.
pub(crate) fn dated(table: &str, when: &str) -> String {
    match table.split_once("\n\n") {
        Some((heading, rest)) => format!("{heading}\n{when}\n{rest}"),
        None => table.to_owned(),
    }
}

/// Whether a target is met, in a word.
pub(crate) fn verdict(is_met: bool) -> String {
    String::from(if is_met { "yes" } else { "no" })
}

/// Replaces what stands between a part's markers in docs/performance.md.
pub(crate) fn write(part: &str, section: &str) -> Result {
    write_by("bench --write", part, section)
}

/// The same between the markers of another command.
pub(crate) fn write_by(command: &str, part: &str, section: &str) -> Result {
    let path = sh::root().join("docs/performance.md");
    let old = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let begin = format!("<!-- cargo xtask {command}: {part} -->");
    let parts = old
        .split_once(&begin)
        .and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = parts.ok_or_else(|| {
        format!(
            "{}: put the lines {begin:?} and {END:?} where the tables go",
            path.display()
        )
    })?;
    fs::write(&path, format!("{head}{begin}\n{section}\n{END}{tail}"))?;
    eprintln!("xtask: wrote {part} into {}", path.display());
    Ok(())
}

/// The value below which the given share of the sorted values lies.
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: f64) -> T {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index between 0 and last"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted[index]
}

//! The boxes of a document: those that are run, each with what is to be seen after it, and those
//! that say why they are not.

/// Stands for whatever there is, in a line or, alone in one, of lines.
const ANY: &str = "…";

/// Stands above a box that is not run, and is followed by the reason.
const NOT_RUN: &str = "<!-- not run: ";

/// Commands, and what they print.
#[derive(Debug, Default)]
pub(super) struct Box {
    /// The line of the document at which it begins.
    pub(super) line: usize,
    pub(super) commands: String,
    pub(super) printed: Vec<String>,
}

/// Takes the boxes out of a document that are to be run.
///
/// # Errors
/// Whatever would be neither run nor excused, or run and compared with nothing.
pub(super) fn read(document: &str) -> Result<Vec<Box>, String> {
    let mut boxes: Vec<Box> = Vec::new();
    let mut lines = document.lines().enumerate();
    // The last line that was not empty, outside of boxes.
    let mut before = "";
    // Whether the last box still lacks what it prints.
    let mut open = false;
    while let Some((number, line)) = lines.next() {
        let at = |what: &str| format!("line {}: {what}", number + 1);
        if line.starts_with('#') && open {
            return Err(at("the box before is compared with nothing"));
        }
        let Some(language) = line.trim_start().strip_prefix("```") else {
            if !line.is_empty() {
                before = line;
            }
            continue;
        };
        let text: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.trim_start().starts_with("```"))
            .collect();
        let reason = std::mem::take(&mut before).strip_prefix(NOT_RUN);
        match (language, reason) {
            ("sh", Some(reason)) if reason.len() < "a word -->".len() => {
                return Err(at("why is it not run?"));
            }
            ("sh", Some(_)) => {}
            (_, Some(_)) => return Err(at("nobody would run this")),
            ("sh", None) if open => return Err(at("the box before is compared with nothing")),
            ("sh", None) if line != "```sh" => return Err(at("begin this box at the margin")),
            ("sh", None) => {
                open = true;
                boxes.push(Box {
                    line: number + 1,
                    commands: text.iter().map(|line| format!("{line}\n")).collect(),
                    printed: Vec::new(),
                });
            }
            ("text", None) => {
                let last = boxes.last_mut().filter(|_| open);
                let last = last.ok_or_else(|| at("no box before it prints this"))?;
                open = false;
                if text
                    .iter()
                    .all(|line| line.replace(ANY, "").trim().is_empty())
                {
                    return Err(at("anything would do here"));
                }
                last.printed = text.into_iter().map(str::to_owned).collect();
            }
            ("" | "toml" | "ini" | "yaml" | "rust" | "json", None) => {}
            (other, None) => return Err(at(&format!("'{other}' is no kind of box"))),
        }
    }
    match open {
        true => Err("the last box is compared with nothing".to_owned()),
        false => Ok(boxes),
    }
}

/// Whether `printed` are the lines that the document says.
pub(super) fn fits(said: &[String], printed: &[&str]) -> bool {
    match said.split_first() {
        None => printed.is_empty(),
        Some((any, rest)) if any == ANY => {
            (0..=printed.len()).any(|skipped| fits(rest, &printed[skipped..]))
        }
        Some((line, rest)) => match printed.split_first() {
            Some((first, others)) => line_fits(line, first) && fits(rest, others),
            None => false,
        },
    }
}

fn line_fits(said: &str, printed: &str) -> bool {
    let printed = printed.trim_end();
    let Some((begin, rest)) = said.split_once(ANY) else {
        return said.trim_end() == printed;
    };
    let Some(mut left) = printed.strip_prefix(begin) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split(ANY).collect();
    let end = parts.pop().unwrap_or_default().trim_end();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

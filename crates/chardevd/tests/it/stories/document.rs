//! What docs/stories.md says: its stories, each with its boxes, and what is to be seen after each.

/// Stands for whatever there is, in a line or, alone in one, of lines.
const ANY: &str = "…";

/// What is below one heading.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) heading: String,
    pub(super) boxes: Vec<Box>,
}

/// Commands, and what they print.
#[derive(Debug, Default)]
pub(super) struct Box {
    /// The line of the document at which it begins.
    pub(super) line: usize,
    pub(super) commands: String,
    pub(super) printed: Vec<String>,
}

/// Takes the stories out of a document.
///
/// # Errors
/// Whatever would not be run or not be compared.
pub(super) fn read(document: &str) -> Result<Vec<Story>, String> {
    let mut stories: Vec<Story> = Vec::new();
    let mut lines = document.lines().enumerate();
    // Whether the last box still lacks what it prints.
    let mut open = false;
    while let Some((number, line)) = lines.next() {
        let at = |what: &str| format!("line {}: {what}", number + 1);
        if let Some(heading) = line.strip_prefix("## ") {
            if open {
                return Err(at("the box before is compared with nothing"));
            }
            stories.push(Story {
                heading: heading.to_owned(),
                boxes: Vec::new(),
            });
        }
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let text: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.starts_with("```"))
            .collect();
        let boxes = stories.last_mut().map(|story| &mut story.boxes);
        let boxes = boxes.ok_or_else(|| at("a box outside of all stories"))?;
        match (language, open) {
            ("sh", false) => boxes.push(Box {
                line: number + 1,
                commands: text.iter().map(|line| format!("{line}\n")).collect(),
                printed: Vec::new(),
            }),
            ("sh", true) => return Err(at("the box before is compared with nothing")),
            ("text", true)
                if text
                    .iter()
                    .all(|line| line.replace(ANY, "").trim().is_empty()) =>
            {
                return Err(at("anything would do here"));
            }
            ("text", true) => {
                let last = boxes.last_mut().ok_or_else(|| at("there is no box"))?;
                last.printed = text.into_iter().map(str::to_owned).collect();
            }
            ("text", false) => return Err(at("no box before it prints this")),
            _ => return Err(at("neither commands (sh) nor what they print (text)")),
        }
        open = language == "sh";
    }
    if open {
        return Err("the last box is compared with nothing".to_owned());
    }
    match stories.iter().find(|story| story.boxes.is_empty()) {
        Some(empty) => Err(format!("'{}' has no boxes", empty.heading)),
        None => Ok(stories),
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

//! conserver.cf: its defaults and consoles.

use std::collections::HashMap;
use std::path::Path;

use super::console::convert;
use super::output::Output;
use super::statements::{Block, blocks};

/// Keywords with values, the last of each counts.
pub(super) type Said = HashMap<String, String>;

/// Reads `text`, the content of `file`.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(super) fn read(file: &Path, text: &str, output: &mut Output) -> Result<(), String> {
    output.note(
        "conserver's clients speak a protocol of its own; here a console is attached to with \
         'chardevctl attach NAME', or goes wherever 'to' says.",
    );
    let mut defaults: HashMap<String, Said> = HashMap::new();
    let mut seen: HashMap<String, Said> = HashMap::new();
    let mut order = Vec::new();
    for block in blocks(file, text)? {
        let Block {
            kind,
            name,
            statements,
        } = block;
        let said = match kind.as_str() {
            "default" => said(&statements, None, &defaults),
            // One that is defined twice has both definitions.
            "console" => said(
                &statements,
                seen.get(&name).or(defaults.get("*")),
                &defaults,
            ),
            "access" | "group" => {
                output.note(access(&kind, &name, &statements));
                continue;
            }
            "config" | "break" | "task" => {
                let why = match kind.as_str() {
                    "config" => "it is about conserver itself; see 'chardevd --help'",
                    "break" => "a break here is a break, sent by 'chardevctl break'",
                    _ => "there are no tasks here",
                };
                if !statements.is_empty() {
                    output.note(format!("Left out: {kind} {name}: {why}."));
                }
                continue;
            }
            other => {
                output.note(format!(
                    "Left out: {other} {name}: this is no block of conserver's."
                ));
                continue;
            }
        };
        let said = said
            .map_err(|missing| format!("{kind} {name} includes '{missing}', which is not there"))?;
        match kind.as_str() {
            "default" => _ = defaults.insert(name, said),
            _ => {
                if seen.insert(name.clone(), said).is_none() {
                    order.push(name);
                }
            }
        }
    }
    for name in order {
        if let Some(said) = seen.get(&name) {
            output.add(convert(&name, said));
        }
    }
    Ok(())
}

/// What statements come to, over what was said before.
fn said(
    statements: &[(String, String)],
    before: Option<&Said>,
    defaults: &HashMap<String, Said>,
) -> Result<Said, String> {
    let mut said = before.cloned().unwrap_or_default();
    for (keyword, value) in statements {
        match keyword.as_str() {
            "include" => {
                let included = defaults.get(value).ok_or_else(|| value.clone())?;
                said.extend(
                    included
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
            }
            // Options add to those before.
            "options" if !value.is_empty() => {
                let all = said.entry(keyword.clone()).or_default();
                *all = format!("{all},{value}");
            }
            _ => _ = said.insert(keyword.clone(), value.clone()),
        }
    }
    Ok(said)
}

fn access(kind: &str, name: &str, statements: &[(String, String)]) -> String {
    let all = statements
        .iter()
        .map(|(keyword, value)| format!("{keyword} {value}"));
    let all = all.collect::<Vec<_>>().join("; ");
    format!(
        "Left out: {kind} {name} {{ {all} }}: who may use a monitor is who may open its socket."
    )
}

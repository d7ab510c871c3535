//! The grammar of conserver.cf: blocks of statements, with its comments and quoting.

use std::path::{Path, PathBuf};

/// `TYPE NAME { KEYWORD VALUE; … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) name: String,
    /// Keywords and values in order.
    pub(super) statements: Vec<(String, String)>,
}

/// How deep files include files, as conserver has it.
const DEPTH: usize = 10;

/// Reads all blocks of `text`, the content of `file`, and of the files it includes.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(super) fn blocks(file: &Path, text: &str) -> Result<Vec<Block>, String> {
    let mut lines = Vec::new();
    include(file, text, DEPTH, &mut lines)?;
    let mut parser = Parser {
        text: lines.join("\n").chars().collect(),
        at: 0,
    };
    let mut blocks = Vec::new();
    while let Some(kind) = parser.keyword() {
        let name = parser.value('{')?;
        let mut statements = Vec::new();
        loop {
            match parser.keyword() {
                Some(keyword) => statements.push((keyword, parser.value(';')?)),
                None if parser.take('}') => break,
                None => return Err(parser.error("a '}' is missing")),
            }
        }
        blocks.push(Block {
            kind,
            name,
            statements,
        });
    }
    match parser.at < parser.text.len() {
        true => Err(parser.error("nothing begins here")),
        false => Ok(blocks),
    }
}

/// The lines of a file, with those of the files that it includes in their places.
fn include(file: &Path, text: &str, depth: usize, lines: &mut Vec<String>) -> Result<(), String> {
    for line in text.lines() {
        let Some(name) = line.strip_prefix("#include") else {
            lines.push(line.to_owned());
            continue;
        };
        let name = PathBuf::from(name.trim());
        let path = file.parent().unwrap_or(Path::new("")).join(name);
        let shown = chardev::text::shown_path(&path);
        let deeper = depth.checked_sub(1);
        let deeper =
            deeper.ok_or_else(|| format!("{shown}: files include each other too deeply"))?;
        let text = std::fs::read(&path).map_err(|error| format!("{shown}: {error}"))?;
        include(&path, &chardev::text::from_bytes(&text), deeper, lines)?;
    }
    Ok(())
}

struct Parser {
    text: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn error(&self, what: &str) -> String {
        let before = &self.text[..self.at.min(self.text.len())];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        format!("line {line}: {what}")
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                c if c.is_whitespace() || c == ';' => self.at += 1,
                _ => return,
            }
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip();
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    /// A word before white space or a token; `None` at a token or the end.
    fn keyword(&mut self) -> Option<String> {
        self.skip();
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || "{};#".contains(c) {
                break;
            }
            self.quoted(c, &mut word);
        }
        (!word.is_empty()).then_some(word)
    }

    /// What comes before `end`, without the white space around it.
    fn value(&mut self, end: char) -> Result<String, String> {
        self.skip_spaces();
        let mut value = String::new();
        // White space counts only between other characters, and where it is quoted.
        let mut solid = 0;
        loop {
            match self.peek() {
                Some(c) if c == end => {
                    self.at += 1;
                    value.truncate(solid);
                    return Ok(value);
                }
                Some('#') => self.skip(),
                Some(c) if "{};".contains(c) => {
                    return Err(self.error(&format!("'{end}' is missing before '{c}'")));
                }
                Some(c) if c.is_whitespace() => {
                    value.push(c);
                    self.at += 1;
                }
                Some(c) => {
                    self.quoted(c, &mut value);
                    solid = value.len();
                }
                None => return Err(self.error(&format!("'{end}' is missing at the end"))),
            }
        }
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// A character, with what stands in quotes or behind a backslash as it is.
    fn quoted(&mut self, c: char, word: &mut String) {
        self.at += 1;
        match c {
            '\\' => {
                word.extend(self.peek());
                self.at += 1;
            }
            '"' => {
                while let Some(c) = self.peek() {
                    self.at += 1;
                    match c {
                        '"' => return,
                        '\\' if self.peek() == Some('"') => {
                            word.push('"');
                            self.at += 1;
                        }
                        c => word.push(c),
                    }
                }
            }
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_spaces_are_conservers() {
        let text = "\"defa\"ult my\\ defs { rw *; in\\clude \"other defs\"  ; } # x { y\n\
                    console a{ exec sh -c \"a; \\\"b\\\"\" ; motd \"\"; }";
        let blocks = blocks(Path::new("f"), text).unwrap();
        let said: Vec<_> = blocks
            .iter()
            .map(|block| (&*block.kind, &*block.name))
            .collect();
        assert_eq!(said, [("default", "my defs"), ("console", "a")]);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            blocks[0].statements,
            [pair("rw", "*"), pair("include", "other defs")]
        );
        assert_eq!(
            blocks[1].statements,
            [pair("exec", "sh -c a; \"b\""), pair("motd", "")]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, why) in [
            ("console a {\n x 1;\n", "line 2: a '}' is missing"),
            ("console a {\n x 1\n}", "line 3: ';' is missing before '}'"),
            ("\n}", "line 2: nothing begins here"),
            ("console a", "line 1: '{' is missing at the end"),
        ] {
            assert_eq!(blocks(Path::new("f"), text).unwrap_err(), why, "{text}");
        }
    }
}

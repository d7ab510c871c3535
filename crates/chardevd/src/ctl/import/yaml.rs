//! YAML as ser2net reads it: keys may be there twice, and the names of anchors mean something.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Span};

/// A value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// `&name` in front of it.
    pub(super) anchor: Option<String>,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    List(Vec<Node>),
    /// In order, keys as often as they are there.
    Map(Vec<(String, Node)>),
}

impl Default for Content {
    fn default() -> Self {
        Content::Text(String::new())
    }
}

impl Node {
    /// The text, or that of a list's members.
    pub(super) fn text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::List(list) => {
                let texts = list.iter().map(|node| match &node.anchor {
                    Some(name) => format!("*{name}"),
                    None => node.text(),
                });
                texts.collect::<Vec<_>>().join(", ")
            }
            Content::Map(_) => String::new(),
        }
    }

    /// The first value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(map) = &self.content else {
            return None;
        };
        map.iter()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }
}

/// How deep values may lie in each other.
const DEPTH: usize = 32;

/// Reads the first document of `text`.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut reader = Reader {
        letters: text.chars().collect(),
        events: Parser::new_from_str(text),
        named: HashMap::new(),
    };
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(Node::default()),
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            event => return reader.node(event, at, DEPTH),
        }
    }
}

struct Reader<'a> {
    letters: Vec<char>,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// Values by the numbers of their anchors.
    named: HashMap<usize, Node>,
}

impl<'a> Reader<'a> {
    /// The next event, and where it begins, in characters.
    fn next(&mut self) -> Result<(Event<'a>, usize), String> {
        let next = self.events.next_event();
        let next = next.ok_or_else(|| "it ends in the middle".to_owned())?;
        let (event, Span { start, .. }) = next.map_err(|error| {
            let at = error.marker();
            format!(
                "line {}, column {}: {}",
                at.line(),
                at.col() + 1,
                error.info()
            )
        })?;
        Ok((event, start.index()))
    }

    fn node(&mut self, event: Event<'a>, at: usize, depth: usize) -> Result<Node, String> {
        let deeper = depth.checked_sub(1);
        let deeper = deeper.ok_or_else(|| "values lie too deep in each other".to_owned())?;
        let (number, content) = match event {
            Event::Alias(number) => {
                return Ok(self.named.get(&number).cloned().unwrap_or_default());
            }
            Event::Scalar(text, _, number, _) => (number, Content::Text(text.into_owned())),
            Event::SequenceStart(number, _) => {
                let mut list = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        break (number, Content::List(list));
                    }
                    list.push(self.node(event, at, deeper)?);
                }
            }
            Event::MappingStart(number, _) => {
                let mut map = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::MappingEnd {
                        break;
                    }
                    let key = self.node(event, at, deeper)?.text();
                    let (event, at) = self.next()?;
                    map.push((key, self.node(event, at, deeper)?));
                }
                (number, Content::Map(map))
            }
            _ => return Err("it is not YAML as ser2net has it".to_owned()),
        };
        let anchor = self.anchor(number, at);
        let node = Node { anchor, content };
        if number > 0 {
            self.named.insert(number, node.clone());
        }
        Ok(node)
    }

    /// The name of an anchor, with which a value begins.
    fn anchor(&self, number: usize, start: usize) -> Option<String> {
        let text = self.letters.get(start..).filter(|_| number > 0)?;
        let mut letters = text.iter().skip_while(|c| **c != '&').skip(1);
        Some(
            letters
                .by_ref()
                .take_while(|c| !c.is_whitespace())
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_there_twice_and_anchors_have_their_names() {
        let text = "%YAML 1.1\n---\ndefine: &text \"a, b\"\n\
                    connection: &one\n  accepter: tcp,\n    2000\n  options:\n    banner: *text\n\
                    connection: &two { accepter: x }\nrotator: &r\n  connections: [ *one, *two ]\n";
        let node = parse(text).unwrap();
        let Content::Map(map) = &node.content else {
            panic!("{node:?}")
        };
        let names: Vec<_> = map
            .iter()
            .map(|(key, node)| (&**key, node.anchor.as_deref().unwrap()))
            .collect();
        let expected = [
            ("define", "text"),
            ("connection", "one"),
            ("connection", "two"),
            ("rotator", "r"),
        ];
        assert_eq!(names, expected);
        assert_eq!(map[1].1.get("accepter").unwrap().text(), "tcp, 2000");
        assert_eq!(
            map[1]
                .1
                .get("options")
                .unwrap()
                .get("banner")
                .unwrap()
                .text(),
            "a, b"
        );
        assert_eq!(map[3].1.get("connections").unwrap().text(), "*one, *two");
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        let error = parse("a: [1, 2\nb: }\n").unwrap_err();
        assert!(error.starts_with("line 2"), "{error}");
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&deep).unwrap_err().contains("too deep"));
    }
}

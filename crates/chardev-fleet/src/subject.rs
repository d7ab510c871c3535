//! Names of consoles ⇄ subjects: `chardev.CLUSTER.HOST.CONSOLE.out`; and of hosts:
//! `chardev.CLUSTER.HOST.events`.
//!
//! A token of a subject may hold neither a dot nor a wildcard nor a space, and may not be empty. A
//! name is written as it is where it consists of letters, digits, `-` and `_`; any other byte of it
//! is `=` and two hexadecimal digits, which keys of a key-value bucket may hold, too. The empty
//! name is a single `=`. Each name has one spelling.

/// Where the subjects begin.
const ROOT: &str = "chardev";
/// The longest subject there is: servers take lines of 4,096 bytes, in which more stands.
pub(crate) const LONGEST: usize = 1024;

/// What of a console a subject is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What it prints.
    Out,
    /// What is typed there.
    In,
    /// What happens to it.
    Events,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 3] = [Topic::Out, Topic::In, Topic::Events];

    /// The last token of its subjects.
    pub fn token(self) -> &'static str {
        match self {
            Topic::Out => "out",
            Topic::In => "in",
            Topic::Events => "events",
        }
    }
}

/// A console of a fleet, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The cluster that its host is in.
    pub cluster: String,
    /// The host.
    pub host: String,
    /// What the host calls it.
    pub console: String,
}

impl Name {
    /// A subject about it; `None` where its names are too long for one.
    pub fn subject(&self, topic: Topic) -> Option<String> {
        let names = [&self.cluster, &self.host, &self.console];
        let [cluster, host, console] = names.map(|name| escape(name));
        let subject = format!("{ROOT}.{cluster}.{host}.{console}.{}", topic.token());
        (subject.len() <= LONGEST).then_some(subject)
    }

    /// Reads a subject: which console it is about, and what of it. `None` for any other subject.
    pub fn parse(subject: &str) -> Option<(Name, Topic)> {
        let mut tokens = subject.split('.');
        if subject.len() > LONGEST || tokens.next()? != ROOT {
            return None;
        }
        let mut name = || unescape(tokens.next()?);
        let name = Name {
            cluster: name()?,
            host: name()?,
            console: name()?,
        };
        let last = tokens.next()?;
        let topic = Topic::ALL.into_iter().find(|it| it.token() == last)?;
        tokens.next().is_none().then_some((name, topic))
    }
}

/// Where a host takes what is for its monitor by those who have a role:
/// `chardev.CLUSTER.HOST.qmp.ROLE`. `None` where the names are too long.
pub fn qmp(cluster: &str, host: &str, role: &str) -> Option<String> {
    let [cluster, host, role] = [cluster, host, role].map(escape);
    let subject = format!("{ROOT}.{cluster}.{host}.qmp.{role}");
    (subject.len() <= LONGEST).then_some(subject)
}

/// The subject about a host itself; `None` where its names are too long for one.
pub fn of_host(cluster: &str, host: &str, topic: Topic) -> Option<String> {
    let (cluster, host) = (escape(cluster), escape(host));
    let subject = format!("{ROOT}.{cluster}.{host}.{}", topic.token());
    (subject.len() <= LONGEST).then_some(subject)
}

/// Reads a subject about a host itself: its cluster, its name, and what of it. `None` for any
/// other.
pub fn parse_host(subject: &str) -> Option<(String, String, Topic)> {
    let mut tokens = subject.split('.');
    if subject.len() > LONGEST || tokens.next()? != ROOT {
        return None;
    }
    let (cluster, host) = (unescape(tokens.next()?)?, unescape(tokens.next()?)?);
    let last = tokens.next()?;
    let topic = Topic::ALL.into_iter().find(|it| it.token() == last)?;
    tokens.next().is_none().then_some((cluster, host, topic))
}

/// The subjects about all hosts of a cluster themselves, for a subscription.
pub fn host_wildcard(cluster: &str, topic: Topic) -> String {
    format!("{ROOT}.{}.*.{}", escape(cluster), topic.token())
}

/// The subjects about all consoles of a host, or of all hosts of a cluster, for a subscription.
pub fn wildcard(cluster: &str, host: Option<&str>, topic: Topic) -> String {
    let host = host.map_or_else(|| "*".to_owned(), escape);
    format!("{ROOT}.{}.{host}.*.{}", escape(cluster), topic.token())
}

/// A name as a token.
pub fn escape(name: &str) -> String {
    if name.is_empty() {
        return "=".to_owned();
    }
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match is_plain(byte) {
            true => token.push(char::from(byte)),
            false => token.push_str(&format!("={byte:02X}")),
        }
    }
    token
}

/// The name that a token stands for; `None` for what [`escape`] does not write.
pub fn unescape(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let mut name = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'=' => {
                let byte = digit(bytes.next()?)? << 4 | digit(bytes.next()?)?;
                if is_plain(byte) {
                    return None;
                }
                byte
            }
            byte if is_plain(byte) => byte,
            _ => return None,
        });
    }
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty()).then_some(name)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_where_they_can_be() {
        for (name, token) in [
            ("con0", "con0"),
            ("rack-1_b", "rack-1_b"),
            ("", "="),
            ("a.b", "a=2Eb"),
            ("*", "=2A"),
            ("é", "=C3=A9"),
            ("=", "=3D"),
        ] {
            assert_eq!(escape(name), token);
            assert_eq!(unescape(token).as_deref(), Some(name));
        }
        for wrong in ["", "a.b", "=4", "=2e", "=41", "==", "=FF", "a b", "*"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_subject_says_whose_it_is_and_nothing_else_is_one() {
        let name = Name {
            cluster: "lab".to_owned(),
            host: "node.one".to_owned(),
            console: "vm 7".to_owned(),
        };
        let subject = name.subject(Topic::Out).expect("it is short");
        assert_eq!(subject, "chardev.lab.node=2Eone.vm=207.out");
        assert_eq!(Name::parse(&subject), Some((name.clone(), Topic::Out)));
        assert_eq!(
            wildcard("lab", Some("node.one"), Topic::Out),
            "chardev.lab.node=2Eone.*.out"
        );
        for wrong in [
            "chardev.lab.node.out",
            "chardev.lab.node.vm.err",
            "chardev.lab.node.vm.out.more",
            "other.lab.node.vm.out",
            "chardev.lab.*.vm.out",
            "",
        ] {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
        let of_host = of_host("lab", "node.one", Topic::Events).expect("it is short");
        assert_eq!(of_host, "chardev.lab.node=2Eone.events");
        let parsed = ("lab".to_owned(), "node.one".to_owned(), Topic::Events);
        assert_eq!(parse_host(&of_host), Some(parsed));
        assert_eq!(Name::parse(&of_host), None);
        assert_eq!(parse_host(&subject), None);
        let console = "x".repeat(LONGEST);
        assert_eq!(Name { console, ..name }.subject(Topic::Out), None);
    }
}

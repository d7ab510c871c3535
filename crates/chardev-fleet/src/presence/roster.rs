//! What all hosts have written, put together.

use std::collections::BTreeMap;

use super::{Console, Host, Key, Page};

/// The reader's side: the hosts that are up, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// They.
    pub hosts: BTreeMap<String, Present>,
}

/// A host that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// What it says of itself.
    pub host: Host,
    /// Its consoles, by their names.
    pub consoles: BTreeMap<String, Console>,
}

impl Roster {
    /// That of a bucket's newest entries: keys as in the bucket, values, and their numbers. What
    /// is no host's key, or no value of one, says nothing.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8], u64)>) -> Roster {
        let mut roster = Roster::default();
        let mut pages: BTreeMap<(String, usize), (Page, u64)> = BTreeMap::new();
        for (key, value, number) in entries {
            match Key::parse(key) {
                Some((name, Key::Host)) => {
                    if let Ok(host) = Host::read(value) {
                        let consoles = BTreeMap::new();
                        roster.hosts.insert(name, Present { host, consoles });
                    }
                }
                Some((name, Key::Page(at))) => {
                    if let Ok(page) = Page::read(value) {
                        pages.insert((name, at), (page, number));
                    }
                }
                None => {}
            }
        }
        let mut newest: BTreeMap<(String, String), u64> = BTreeMap::new();
        for ((name, at), (page, number)) in pages {
            let Some(present) = roster.hosts.get_mut(&name) else {
                continue;
            };
            if page.run != present.host.run || at >= present.host.pages {
                continue;
            }
            for console in page.consoles {
                // One that was removed and came again may be on two pages for a moment.
                let known = newest
                    .entry((name.clone(), console.name.clone()))
                    .or_default();
                if *known > number {
                    continue;
                }
                *known = number;
                present.consoles.insert(console.name.clone(), console);
            }
        }
        roster
    }

    /// A console of a host that is up.
    pub fn console(&self, host: &str, console: &str) -> Option<&Console> {
        self.hosts.get(host)?.consoles.get(console)
    }
}

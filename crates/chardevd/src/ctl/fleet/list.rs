//! `chardevctl list --fleet`: all hosts and consoles of the cluster that are up, or have printed.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::presence::{self, Present, Roster};
use chardev_fleet::{Blind, Console};
use chardev_qapi::{Json, Object};

use super::Options;
use super::way::Way;
use crate::ctl::commands::print;
use crate::ctl::failure::{Failure, Status};
use crate::ctl::list::Args;
use crate::ctl::table::{Column, Table, terminal_width};
use crate::ctl::time::utc;

/// Prints them.
pub(in crate::ctl) fn list(
    options: &Options,
    timeout: Option<Duration>,
    args: &Args,
) -> Result<(), Failure> {
    if args.watch.is_some() || args.parts {
        let text = "--watch and --parts are for the list of a daemon, not for that of a fleet";
        return Err(Failure::new(Status::Usage, text)
            .with_hint("leave them out, or name a daemon instead of --fleet"));
    }
    let way = Way::open(options, timeout)?;
    let printed = way.ask(timeout, way.look.consoles())?;
    let hosts = async {
        match way.look.hosts().await {
            Err(Blind::Refused { why, .. }) => Ok(Err(why)),
            hosts => hosts.map(Ok),
        }
    };
    let roster = way.ask(timeout, hosts)?.unwrap_or_else(|why| {
        // Who cannot hear it still gets what there is.
        let _ = writeln!(
            io::stderr(),
            "chardevctl: which hosts are up is not shown: the servers refuse: {}",
            shown(&why)
        );
        None
    });
    let entries = merge(printed, roster);
    match args.json {
        true => {
            let all = Json::Array(entries.iter().map(Entry::describe).collect());
            print(&format!("{}\n", all.to_pretty_string()))
        }
        false => print(&table(&entries).text(terminal_width())),
    }
}

/// A console, or a host that has none.
#[derive(Debug, Default)]
struct Entry {
    host: String,
    console: Option<String>,
    /// Whether it is up; `None` if nobody says that in this cluster.
    is_up: Option<bool>,
    /// What its host says of itself.
    of_host: Option<presence::Host>,
    /// What its host says of it.
    seen: Option<presence::Console>,
    /// What the stream has of it.
    printed: Option<Console>,
}

/// All that are up, or have printed, by host and name.
fn merge(printed: Vec<Console>, roster: Option<Roster>) -> Vec<Entry> {
    let mut entries: BTreeMap<(String, Option<String>), Entry> = BTreeMap::new();
    let is_known = roster.is_some();
    for (name, Present { host, consoles }) in roster.unwrap_or_default().hosts {
        let consoles = consoles.into_values().map(Some);
        let mut consoles: Vec<_> = consoles.collect();
        if consoles.is_empty() {
            consoles.push(None);
        }
        for seen in consoles {
            let console = seen.as_ref().map(|it| it.name.clone());
            let entry = Entry {
                host: name.clone(),
                console: console.clone(),
                is_up: Some(true),
                of_host: Some(host.clone()),
                seen,
                printed: None,
            };
            entries.insert((name.clone(), console), entry);
        }
    }
    for console in printed {
        let (host, name) = (
            console.name.host.clone(),
            Some(console.name.console.clone()),
        );
        let entry = entries.entry((host.clone(), name.clone()));
        let entry = entry.or_insert_with(|| Entry {
            host,
            console: name,
            is_up: is_known.then_some(false),
            ..Entry::default()
        });
        entry.printed = Some(console);
    }
    entries.into_values().collect()
}

impl Entry {
    /// Its newest life, and how much it has printed in that.
    fn life(&self) -> Option<(chardev::Epoch, u64)> {
        let printed = self.printed.as_ref().map(|it| (it.epoch, it.end));
        match (&self.seen, printed) {
            (Some(seen), Some((epoch, end))) if seen.epoch == epoch => {
                Some((epoch, end.max(seen.offset)))
            }
            (Some(seen), _) => Some((seen.epoch, seen.offset)),
            (None, printed) => printed,
        }
    }

    /// Whether its newest life is over, as the stream has it.
    fn has_ended(&self) -> bool {
        let of_life = |it: &Console| self.life().is_some_and(|(epoch, _)| epoch == it.epoch);
        self.printed
            .as_ref()
            .is_some_and(|it| it.has_ended && of_life(it))
    }

    /// When the servers got its last message.
    fn heard(&self) -> Option<String> {
        self.printed.as_ref().map(|it| utc(it.heard))
    }

    fn state(&self) -> Option<&'static str> {
        self.is_up.map(|is_up| if is_up { "up" } else { "down" })
    }

    fn describe(&self) -> Json {
        let mut all = Object::new().with("host", self.host.as_str());
        if let Some(console) = &self.console {
            all.insert("console", console.as_str());
        }
        if let Some(state) = self.state() {
            all.insert("state", state);
        }
        if let Some((epoch, offset)) = self.life() {
            all.insert("epoch", epoch.to_string());
            all.insert("output-offset", offset);
        }
        if let Some(heard) = self.heard() {
            all.insert("last-heard", heard);
        }
        if self.console.is_some() {
            all.insert("ended", self.has_ended());
        }
        if let Some(host) = &self.of_host {
            all.insert("version", host.version.as_str());
            all.insert("started", utc(Duration::from_secs(host.started)));
            if let Some(role) = &host.qmp {
                all.insert("qmp", role.as_str());
            }
        }
        if let Some(seen) = &self.seen {
            if let Some(front) = &seen.front {
                all.insert("front-end", front.as_str());
            }
            all.insert("back-end", seen.back.as_str());
            all.insert("connected", seen.is_connected);
            all.insert("since", utc(Duration::from_secs(seen.since)));
        }
        all.into()
    }
}

fn table(entries: &[Entry]) -> Table {
    let mut table = Table::new(&[
        ("CONSOLE", Column::Whole),
        ("STATE", Column::Whole),
        ("BACK END", Column::Text),
        ("OUT", Column::Number),
        ("LAST HEARD", Column::Whole),
        ("ENDED", Column::Whole),
    ]);
    let none = || "-".to_owned();
    for entry in entries {
        let name = match &entry.console {
            Some(console) => format!("{}/{console}", entry.host),
            None => entry.host.clone(),
        };
        let back = entry.seen.as_ref().map(|it| shown(&it.back).to_string());
        let ended = match (&entry.console, entry.has_ended()) {
            (None, _) => none(),
            (_, true) => "yes".to_owned(),
            (_, false) => "no".to_owned(),
        };
        table.push([
            shown(&name).to_string(),
            entry.state().unwrap_or("-").to_owned(),
            back.unwrap_or_else(none),
            entry.life().map_or_else(none, |(_, end)| end.to_string()),
            entry.heard().unwrap_or_else(none),
            ended,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use chardev_fleet::presence::{Board, Console, Host, Roster};

    use super::*;

    #[test]
    fn who_is_up_and_has_printed_nothing_is_listed_too() {
        let about = Host {
            run: chardev::Epoch::new(1),
            version: "v".to_owned(),
            started: 0,
            pages: 0,
            consoles: 0,
            qmp: Some("view".to_owned()),
        };
        let mut board = Board::new(about);
        let mut entries = Vec::new();
        let mut write = |board: &mut Board, host: &str| {
            while let Some(write) = board.next_write() {
                let value = write.value.clone().unwrap_or_default();
                entries.push((write.key.of(host), value));
                board.hear(&write, true);
            }
        };
        write(&mut board, "empty");
        board.refresh();
        board.update(vec![Console {
            name: "con0".to_owned(),
            epoch: chardev::Epoch::new(7),
            front: None,
            back: "pty".to_owned(),
            offset: 0,
            is_connected: false,
            since: 60,
        }]);
        write(&mut board, "one");
        let entries = entries.iter();
        let entries = entries.map(|(key, value)| (key.as_str(), value.as_bytes(), 1));
        let all = merge(Vec::new(), Some(Roster::of(entries)));
        let lines = table(&all).text(None);
        assert_eq!(
            lines,
            "CONSOLE   STATE  BACK END  OUT  LAST HEARD  ENDED\n\
             empty     up     -           -  -           -\n\
             one/con0  up     pty         0  -           no\n"
        );
        let json = Json::Array(all.iter().map(Entry::describe).collect()).to_string();
        assert_eq!(
            json,
            "[{\"host\": \"empty\", \"state\": \"up\", \"version\": \"v\", \
             \"started\": \"1970-01-01T00:00:00.000Z\", \"qmp\": \"view\"}, \
             {\"host\": \"one\", \"console\": \"con0\", \"state\": \"up\", \
             \"epoch\": \"0000000000000007\", \"output-offset\": 0, \"ended\": false, \"version\": \"v\", \
             \"started\": \"1970-01-01T00:00:00.000Z\", \"qmp\": \"view\", \
             \"back-end\": \"pty\", \"connected\": false, \"since\": \"1970-01-01T00:01:00.000Z\"}]"
        );
        assert!(merge(Vec::new(), None).is_empty());
    }
}

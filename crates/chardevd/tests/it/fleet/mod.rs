//! Daemons in a fleet, against a cluster of three real servers.

mod connect;
mod crowd;
mod hosts;
pub(crate) mod keys;
mod packaged;
mod peers;
mod roles;
#[path = "../../../../chardev-fleet/tests/it/secure.rs"]
pub(crate) mod secure;
#[path = "../../../../chardev-fleet/tests/it/servers.rs"]
pub(crate) mod servers;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use chardev_fleet::reader::{Found, Why};
use chardev_fleet::subject::Name;
use chardev_fleet::{Archive, Settings, StreamSettings, Until};
use chardev_load::lines::{Form, Lines};
use chardev_qapi::{Json, Object};
use tokio::runtime::Runtime;

use self::servers::{Servers, until};
use crate::daemon_rig::{Daemon, console};

const HOSTS: usize = 3;
const CONSOLES: usize = 3;

/// A daemon of a fleet, and where its files are.
pub(crate) struct Host {
    pub(crate) dir: PathBuf,
    name: String,
    pub(crate) daemon: Daemon,
}

impl Host {
    pub(crate) fn start(dir: &Path, number: usize, servers: &Servers) -> Host {
        let consoles: String = (0..CONSOLES)
            .map(|console| format!("[console.con{console}]\n"))
            .collect();
        let dir = Host::prepare(dir, number, servers, &consoles);
        Host::begin(dir, &[])
    }

    /// Makes its directory, with a configuration of these consoles.
    fn prepare(dir: &Path, number: usize, servers: &Servers, consoles: &str) -> PathBuf {
        let name = format!("host.{number}");
        let dir = dir.join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        let text = format!(
            "[fleet]\nservers = {:?}\ncluster = 'test'\nhost = '{name}'\n\
             stream = {{ name = 'OUT', replicas = 3, max-age = '1h' }}\npresence = '6s'\n\
             [defaults]\nsocket = {{ path = '{{name}}.far', server = true }}\nto = 'null'\nhistory = '1M'\n\
             [[monitor]]\nlisten = 'unix:qmp'\n{consoles}",
            servers.addresses("nats")
        );
        std::fs::write(dir.join("chardevd.toml"), text).unwrap();
        dir
    }

    /// Starts the one whose directory was prepared, with this in its environment.
    fn begin(dir: PathBuf, environment: &[(&str, &str)]) -> Host {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let mut command = Host::command(&dir);
        command.envs(environment.iter().copied());
        let daemon = Daemon::adopt(command, &dir.join("qmp"));
        Host { dir, name, daemon }
    }

    pub(crate) fn daemon(dir: &Path) -> Daemon {
        Daemon::adopt(Host::command(dir), &dir.join("qmp"))
    }

    fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        command.current_dir(dir).args(["--config", "chardevd.toml"]);
        command
    }

    /// A member of the answer of `x-query-fleet`.
    fn said(&self, name: &str) -> Json {
        let answer = self.daemon.client().execute("x-query-fleet", Object::new());
        answer.unwrap().get(name).unwrap().clone()
    }

    pub(crate) fn is_up_to_date(&self) -> bool {
        self.said("connected") == Json::from(true) && self.behind() == 0
    }

    /// How many bytes are not in the stream yet.
    fn behind(&self) -> u64 {
        self.said("behind").as_u64().unwrap()
    }

    /// How much its consoles have printed together.
    fn printed_by_all(&self) -> u64 {
        let stats = self
            .daemon
            .client()
            .execute("x-query-chardev-stats", Object::new());
        let stats = stats.unwrap();
        let consoles = stats.as_array().unwrap().iter().filter(|it| {
            let label = it.get("label").and_then(Json::as_str);
            label.is_some_and(|label| label.starts_with("con") && !label.contains('.'))
        });
        consoles
            .map(|it| it.get("output-offset").and_then(Json::as_u64).unwrap())
            .sum()
    }

    /// How much a console has printed, and in which life.
    pub(crate) fn printed(&self, console: usize) -> (String, u64) {
        let id = Object::new().with("id", format!("con{console}"));
        let stats = self.daemon.client().execute("x-query-chardev-stats", id);
        let stats = stats.unwrap().as_array().unwrap()[0].clone();
        let epoch = stats
            .get("epoch")
            .and_then(Json::as_str)
            .unwrap()
            .to_owned();
        (
            epoch,
            stats.get("output-offset").and_then(Json::as_u64).unwrap(),
        )
    }
}

/// What makes a console of the host print, from some place of the text that all print.
pub(crate) struct Feed(UnixStream, Lines, u64);

impl Feed {
    pub(crate) fn new(host: &Host, console_number: usize, begin: u64) -> Feed {
        let far = host.dir.join(format!("con{console_number}.far"));
        Feed(console(&far), Lines::from_offset(Form::Padded, begin), 0)
    }

    pub(crate) fn print(&mut self, count: usize) {
        let mut text = vec![0; count];
        self.1.fill(&mut text);
        self.0.write_all(&text).unwrap();
        self.2 += count as u64;
    }
}

/// What the stream has of one life of a console.
#[derive(Debug, PartialEq, Eq)]
struct Life {
    epoch: String,
    text: Vec<u8>,
    has_ended: bool,
}

fn read(archive: &Archive, runtime: &Runtime, host: &str, console: usize) -> Vec<Life> {
    let name = Name {
        cluster: "test".to_owned(),
        host: host.to_owned(),
        console: format!("con{console}"),
    };
    let mut lives: Vec<Life> = Vec::new();
    let each = |found: Found| {
        let (Found::Output { epoch, .. } | Found::Gap { epoch, .. } | Found::End { epoch, .. }) =
            found;
        let epoch = epoch.to_string();
        if lives.last().is_none_or(|life| life.epoch != epoch) {
            lives.push(Life {
                epoch,
                text: Vec::new(),
                has_ended: false,
            });
        }
        let life = lives.last_mut().unwrap();
        match found {
            Found::Output { offset, bytes, .. } => {
                assert_eq!(offset, life.text.len() as u64);
                life.text.extend_from_slice(&bytes);
            }
            Found::Gap { from, to, why, .. } => {
                panic!(
                    "{from}..{to} is {}",
                    if why == Why::Told { "lost" } else { "missing" }
                );
            }
            Found::End { .. } => life.has_ended = true,
        }
        true
    };
    runtime
        .block_on(archive.read(&name, Until::Now, each))
        .unwrap();
    lives
}

/// Those of somebody who reads.
fn settings(servers: &Servers) -> Settings {
    Settings {
        servers: servers.addresses("nats"),
        cluster: "test".to_owned(),
        host: "reader".to_owned(),
        stream: StreamSettings {
            name: "OUT".to_owned(),
            ..StreamSettings::default()
        },
        ..Settings::default()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn expected(begin: u64, count: u64) -> Vec<u8> {
    let mut text = vec![0; count as usize];
    Lines::from_offset(Form::Padded, begin).fill(&mut text);
    text
}

#[test]
fn a_daemon_that_is_killed_and_started_again_leaves_two_lives_in_the_stream_and_no_byte_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let mut hosts: Vec<_> = (0..HOSTS)
        .map(|number| Host::start(dir.path(), number, &servers))
        .collect();
    let begin =
        |host: usize, console: usize, life: u64| ((host * 10 + console) as u64) << 32 | life << 28;
    let feed_all = |hosts: &[Host], life| -> Vec<Vec<Feed>> {
        let of = |(number, host)| {
            let feeds = 0..CONSOLES;
            feeds
                .map(|it| Feed::new(host, it, begin(number, it, life)))
                .collect()
        };
        hosts.iter().enumerate().map(of).collect()
    };
    let print = |feeds: &mut [Vec<Feed>]| {
        for count in [100, 5000, 40_000, 7] {
            feeds
                .iter_mut()
                .flatten()
                .for_each(|feed| feed.print(count));
        }
    };
    let all_there = |hosts: &[Host], feeds: &[Vec<Feed>]| {
        hosts.iter().zip(feeds).all(|(host, feeds)| {
            let mut consoles = feeds.iter().enumerate();
            consoles.all(|(it, feed)| host.printed(it).1 == feed.2) && host.is_up_to_date()
        })
    };
    let mut feeds = feed_all(&hosts, 0);
    print(&mut feeds);
    until("the first output is there", || all_there(&hosts, &feeds));
    assert_eq!(hosts[0].said("host").as_str(), Some("host.0"));
    // Monitors and the far ends take no part.
    assert_eq!(hosts[0].said("consoles").as_u64(), Some(CONSOLES as u64));

    servers.kill(0);
    print(&mut feeds);
    servers.begin(0);
    servers.freeze(1, true);
    print(&mut feeds);
    servers.freeze(1, false);
    until("all is there after a kill", || all_there(&hosts, &feeds));
    let first: Vec<_> = (0..CONSOLES).map(|it| hosts[1].printed(it)).collect();
    hosts[1].daemon.kill();
    // It has left its sockets behind, which the next one takes.
    hosts[1].daemon = Host::daemon(&hosts[1].dir);
    let second: Vec<_> = (0..CONSOLES)
        .map(|it| Feed::new(&hosts[1], it, begin(1, it, 1)))
        .collect();
    feeds[1] = second;
    print(&mut feeds);
    until("all is there after the restart", || {
        all_there(&hosts, &feeds)
    });
    let epochs: Vec<_> = (0..CONSOLES).map(|it| hosts[1].printed(it).0).collect();

    // What is printed just before the end comes to the stream, and so does the end.
    print(&mut feeds);
    until("it is printed", || {
        (0..CONSOLES).all(|it| hosts[1].printed(it).1 == feeds[1][it].2)
    });
    assert!(hosts[1].daemon.terminate().0.success());

    let runtime = runtime();
    let settings = settings(&servers);
    let archive = runtime.block_on(Archive::open(&settings)).unwrap();
    for console in 0..CONSOLES {
        let lives = read(&archive, &runtime, "host.1", console);
        let (epoch, printed) = first[console].clone();
        let killed = Life {
            epoch,
            text: expected(begin(1, console, 0), printed),
            has_ended: false,
        };
        let ended = Life {
            epoch: epochs[console].clone(),
            text: expected(begin(1, console, 1), feeds[1][console].2),
            has_ended: true,
        };
        assert!(
            lives == [killed, ended],
            "con{console} is not what was printed"
        );
    }
    until("all is there at last", || {
        [0, 2].iter().all(|it| hosts[*it].is_up_to_date())
    });
    for host in [0, 2] {
        for (console, feed) in feeds[host].iter().enumerate() {
            let lives = read(&archive, &runtime, &hosts[host].name, console);
            let text = expected(begin(host, console, 0), feed.2);
            assert!(
                lives.len() == 1 && lives[0].text == text,
                "con{console} of {host}"
            );
        }
    }
}

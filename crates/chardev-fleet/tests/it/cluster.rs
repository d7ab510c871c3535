//! Hosts and their consoles against a cluster of three real servers: every byte comes to the stream
//! once, whatever happens to the servers meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, Epoch, FrontEnd};
use chardev_fleet::reader::{Found, Why};
use chardev_fleet::subject::Name;
use chardev_fleet::{Archive, Fleet, Progress, Settings, StreamSettings, Until};
use chardev_load::lines::{Form, Lines};

use crate::servers::{Servers, pause, until};

const HOSTS: usize = 3;
const CONSOLES: usize = 4;
/// What no console prints.
const LOST: u8 = 0xff;
/// How much each console keeps: more than is printed while no server can be reached.
const HISTORY: usize = 4 << 20;

pub(crate) fn settings(servers: &Servers, host: &str) -> Settings {
    Settings {
        servers: servers.addresses("nats"),
        cluster: "test".to_owned(),
        host: host.to_owned(),
        stream: StreamSettings {
            name: "OUT".to_owned(),
            replicas: 3,
            ..StreamSettings::default()
        },
        ..Settings::default()
    }
}

/// A console that prints lines nobody else does.
struct Console {
    front: FrontEnd,
    name: Name,
    epoch: Epoch,
    lines: Lines,
    begin: u64,
    printed: u64,
}

impl Console {
    fn new(host: &Host, number: usize, console: usize) -> Console {
        Console::with(host, number, console, HISTORY, None)
    }

    /// One that keeps so much, and has a log and its index in a directory, if there is one.
    fn with(
        host: &Host,
        number: usize,
        console: usize,
        kept: usize,
        log: Option<&Path>,
    ) -> Console {
        let id = format!("con.{console}");
        let mut options = Options::new("null");
        options.set("x-history", OptionValue::Int(kept as i64));
        for (option, name) in [("logfile", "log"), ("x-logindex", "index")] {
            if let Some(log) = log {
                let path = log.join(name).to_str().unwrap().to_owned();
                options.set(option, OptionValue::Str(path));
            }
        }
        if log.is_some() {
            options.set("x-log-full", OptionValue::Str("hold".to_owned()));
        }
        host.chardevs.blocking_add(&id, options).unwrap();
        let begin = ((number * 100 + console) as u64) << 32;
        Console {
            front: host.chardevs.attach(&id).unwrap(),
            epoch: host.chardevs.details(&id).unwrap().epoch.unwrap(),
            name: Name {
                cluster: "test".to_owned(),
                host: host.name.clone(),
                console: id,
            },
            lines: Lines::from_offset(Form::Padded, begin),
            begin,
            printed: 0,
        }
    }

    fn print(&mut self, count: usize) {
        let mut text = vec![0; count];
        self.lines.fill(&mut text);
        let mut rest = &text[..];
        // Of all there is only its own log may hold it up.
        until("it is printed", || {
            rest = &rest[self.front.write(rest)..];
            rest.is_empty()
        });
        self.printed += count as u64;
    }
}

/// What stands in one daemon.
struct Host {
    name: String,
    chardevs: Chardevs,
    fleet: Option<Fleet>,
}

impl Host {
    fn start(servers: &Servers, name: String) -> Host {
        tell_what_happens();
        let chardevs = Chardevs::new().unwrap();
        let mut host = Host {
            name,
            chardevs,
            fleet: None,
        };
        host.join(servers, Progress::default());
        host
    }

    fn join(&mut self, servers: &Servers, progress: Progress) {
        let settings = settings(servers, &self.name);
        let all = Arc::new(|_: &mut Vec<String>| {});
        self.fleet = Some(Fleet::start(&self.chardevs, settings, all, progress).unwrap());
    }

    fn behind(&self) -> u64 {
        let status = self.fleet.as_ref().unwrap().status(&self.chardevs);
        if status.is_connected {
            status.behind
        } else {
            u64::MAX
        }
    }
}

/// What the fleet says is part of a failed test's output.
fn tell_what_happens() {
    let told = tracing_subscriber::fmt()
        .with_env_filter("info,chardev_fleet=debug,async_nats=info")
        .with_ansi(false)
        .with_test_writer();
    // Another host has done that already.
    let _ = told.try_init();
}

/// The stream, and what its reader runs on.
fn open(servers: &Servers) -> (tokio::runtime::Runtime, Archive) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let archive = runtime.block_on(Archive::open(&settings(servers, "reader")));
    (runtime, archive.unwrap())
}

/// All that the stream has of a console: the lives in order, and whether each has ended.
fn read(archive: &Archive, runtime: &tokio::runtime::Runtime, console: &Name) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let each = |found: Found| {
        let epoch = match &found {
            Found::Output { epoch, .. } | Found::Gap { epoch, .. } | Found::End { epoch, .. } => {
                *epoch
            }
        };
        if lives.last().is_none_or(|it| it.epoch != epoch) {
            lives.push(Life {
                epoch,
                text: Vec::new(),
                lost: 0,
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
                assert_eq!(why, Why::Told, "{from}..{to} is missing in the stream");
                assert_eq!(from, life.text.len() as u64);
                life.lost += to - from;
                life.text.resize(to as usize, LOST);
            }
            Found::End { .. } => life.has_ended = true,
        }
        true
    };
    runtime
        .block_on(archive.read(console, Until::Now, each))
        .unwrap();
    lives
}

struct Life {
    epoch: Epoch,
    /// With something else in place of what is told to be lost.
    text: Vec<u8>,
    lost: u64,
    has_ended: bool,
}

impl Life {
    /// How many of its bytes are neither what was printed nor told to be lost.
    fn wrong(&self, console: &Console) -> usize {
        let mut expected = vec![0; console.printed as usize];
        Lines::from_offset(Form::Padded, console.begin).fill(&mut expected);
        assert_eq!(self.text.len(), expected.len(), "{:?}", console.name);
        let pairs = self.text.iter().zip(&expected);
        pairs
            .filter(|(got, expected)| got != expected && **got != LOST)
            .count()
    }
}

/// Everybody prints a little, again and again, for so long.
fn print_for(consoles: &mut [Console], time: Duration) {
    let end = std::time::Instant::now() + time;
    let mut turn = 0;
    while std::time::Instant::now() < end {
        for (number, console) in consoles.iter_mut().enumerate() {
            console.print([17, 400, 3000, 9000][(turn + number) % 4]);
        }
        turn += 1;
        pause();
    }
}

#[test]
fn every_byte_is_in_the_stream_once_while_servers_die_freeze_and_return() {
    let mut servers = Servers::start();
    let mut hosts: Vec<Host> = (0..HOSTS)
        .map(|number| Host::start(&servers, format!("host.{number}")))
        .collect();
    let mut consoles: Vec<Console> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        consoles.extend((0..CONSOLES).map(|console| Console::new(host, number, console)));
    }
    let all_there = |hosts: &[Host]| hosts.iter().all(|host| host.behind() == 0);
    print_for(&mut consoles, Duration::from_secs(1));
    until("the first output is there", || all_there(&hosts));

    for number in 0..2 {
        servers.kill(number);
        print_for(&mut consoles, Duration::from_secs(2));
        servers.begin(number);
        until("all is there after a kill", || all_there(&hosts));
    }
    servers.freeze(2, true);
    print_for(&mut consoles, Duration::from_secs(4));
    servers.freeze(2, false);
    print_for(&mut consoles, Duration::from_secs(1));
    // The settings of one host change, and it goes on where it was.
    let progress = hosts[0].fleet.take().unwrap().stop();
    print_for(&mut consoles, Duration::from_millis(200));
    hosts[0].join(&servers, progress);
    until("all is there after a frozen server", || all_there(&hosts));

    let (runtime, archive) = open(&servers);
    let named: BTreeMap<Name, usize> = runtime
        .block_on(archive.consoles())
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(named.len(), HOSTS * CONSOLES);
    for console in &consoles {
        let lives = read(&archive, &runtime, &console.name);
        assert_eq!(lives.len(), 1, "{:?}", console.name);
        assert_eq!(lives[0].epoch, console.epoch);
        assert_eq!(lives[0].wrong(console), 0, "{:?}", console.name);
        assert_eq!(lives[0].lost, 0, "{:?}", console.name);
        assert!(!lives[0].has_ended);
        assert!(named[&console.name] > 10);
    }
}

#[test]
fn what_is_printed_while_no_server_is_there_comes_from_the_log_or_is_a_gap_with_its_numbers() {
    const KEPT: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let host = Host::start(&servers, "host".to_owned());
    let log = Some(dir.path());
    let mut consoles = [
        Console::with(&host, 0, 0, KEPT, log),
        Console::with(&host, 0, 1, KEPT, None),
    ];
    print_for(&mut consoles, Duration::from_millis(200));
    until("the first output is there", || host.behind() == 0);
    (0..3).for_each(|number| servers.kill(number));
    let printed = consoles[1].printed;
    for _ in 0..100 {
        for console in &mut consoles {
            console.print(20_000);
        }
    }
    (0..3).for_each(|number| servers.begin(number));
    until("all is there", || host.behind() == 0);
    let (runtime, archive) = open(&servers);
    let lives: Vec<Life> = consoles
        .iter()
        .flat_map(|console| read(&archive, &runtime, &console.name))
        .collect();
    assert_eq!(lives.len(), 2);
    for (life, console) in lives.iter().zip(&consoles) {
        assert_eq!(life.wrong(console), 0, "{:?}", console.name);
    }
    assert_eq!(lives[0].lost, 0, "its log has all");
    let kept = consoles[1].printed - lives[1].lost;
    let most = printed + (KEPT + (1 << 20)) as u64;
    assert!(
        lives[1].lost > 0 && kept <= most,
        "{} of {}",
        kept,
        consoles[1].printed
    );

    let Host {
        chardevs, fleet, ..
    } = host;
    let names = consoles.map(|console| console.name);
    for name in &names {
        chardevs.blocking_remove(&name.console).unwrap();
    }
    fleet.unwrap().finish(Duration::from_secs(20));
    for name in &names {
        let lives = read(&archive, &runtime, name);
        assert!(lives.len() == 1 && lives[0].has_ended, "{name:?}");
    }
}

/// A leader that has begun to store a message knows its id, and says so when it is sent again. If
/// others take its place before they have the message, nobody has it.
#[test]
fn what_a_leader_has_only_begun_to_store_is_not_acknowledged() {
    let mut servers = Servers::start();
    let first = Host::start(&servers, "first".to_owned());
    until("there is a stream", || first.behind() == 0);
    let leader = until_some("it has a leader", || leader(&servers, "OUT"));
    drop(first);
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();

    let mut only = settings(&servers, "host");
    only.servers = vec![only.servers[leader].clone()];
    let mut host = Host::start(&servers, "host".to_owned());
    host.fleet = None;
    let all = Arc::new(|_: &mut Vec<String>| {});
    let fleet = Fleet::start(&host.chardevs, only, all, Progress::default());
    host.fleet = Some(fleet.unwrap());
    let mut console = Console::new(&host, 0, 0);
    console.print(100);
    until("the first output is there", || host.behind() == 0);

    others.iter().for_each(|it| servers.freeze(*it, true));
    console.print(50);
    // By then it was sent again, and the leader is one still.
    let end = std::time::Instant::now() + Duration::from_secs(8);
    while std::time::Instant::now() < end {
        assert!(host.behind() >= 50, "one server of three has it");
        pause();
    }
    // It never comes back as a leader: what it had begun is lost with it.
    servers.kill(leader);
    others.iter().for_each(|it| servers.freeze(*it, false));
    servers.begin(leader);
    until("all is there at last", || host.behind() == 0);
    let (runtime, archive) = open(&servers);
    let lives = read(&archive, &runtime, &console.name);
    assert_eq!((lives.len(), lives[0].lost), (1, 0));
    assert_eq!(lives[0].wrong(&console), 0);
}

/// Which server leads a stream.
fn leader(servers: &Servers, stream: &str) -> Option<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(servers.addresses("nats")).await.ok()?;
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream(stream).await.ok()?;
        let cluster = stream.cached_info().cluster.as_ref()?;
        cluster.leader.as_ref()?.strip_prefix('n')?.parse().ok()
    })
}

/// Waits until there is something.
fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_stream_is_kept_by_servers_with_the_tags_that_are_wanted() {
    let servers = Servers::start();
    let chardevs = Chardevs::new().unwrap();
    let all = Arc::new(|_: &mut Vec<String>| {});
    for number in [2, 0, 1] {
        let name = format!("ON{number}");
        let settings = Settings {
            cluster: name.clone(),
            stream: StreamSettings {
                name: name.clone(),
                replicas: 1,
                tags: vec![format!("number:{number}"), "of:three".to_owned()],
                ..StreamSettings::default()
            },
            ..settings(&servers, "host")
        };
        let fleet = Fleet::start(&chardevs, settings, all.clone(), Progress::default()).unwrap();
        for stream in [name.clone(), format!("KV_{name}_HOSTS")] {
            let leads = until_some("it is there", || leader(&servers, &stream));
            assert_eq!(leads, number, "{stream}");
        }
        drop(fleet);
    }
}

//! Many daemons with many consoles each, against three servers to which everything happens that the
//! document promises nothing is lost by: every byte is read back.
//!
//! `CHARDEV_FLEET_HOSTS`, `CHARDEV_FLEET_CONSOLES` (of each), `CHARDEV_FLEET_FROZEN` (seconds) and
//! `CHARDEV_FLEET_LAG` (MiB) say how much of it.

mod account;
mod clock;
mod laggard;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::account::Account;
use self::clock::Clock;
use self::laggard::Laggard;
use super::servers::{Servers, pause, until};
use super::{Feed, Host};

/// Which host's first console prints much, which one is killed, and whose clock jumps.
const LOUD: usize = 0;
const KILLED: usize = 1;
const MOVED: usize = 2;
/// How much the consoles print in turn; they have a message at least for each.
const PIECES: [usize; 4] = [17, 400, 3000, 900];
/// How much of the text lies between the beginnings of two consoles.
const APART: u64 = 1 << 28;
const MIB: usize = 1 << 20;

/// How much is done.
struct Setup {
    hosts: usize,
    consoles: usize,
    frozen: Duration,
    lag: usize,
}

impl Setup {
    fn from_environment() -> Setup {
        let setting = |name: &str, usual| {
            let said = std::env::var(format!("CHARDEV_FLEET_{name}")).ok();
            said.map_or(usual, |said| said.parse().unwrap())
        };
        Setup {
            hosts: setting("HOSTS", 60),
            consoles: setting("CONSOLES", 50),
            frozen: Duration::from_secs(setting("FROZEN", 20) as u64),
            lag: setting("LAG", 100) * MIB,
        }
    }

    /// Where in the text a console begins, in its first life or its second.
    fn begin(&self, host: usize, console: usize, life: usize) -> u64 {
        ((host * self.consoles + console) * 2 + life) as u64 * APART
    }
}

/// The daemons, and what makes their consoles print.
struct Crowd {
    setup: Setup,
    hosts: Vec<Host>,
    feeds: Vec<Vec<Feed>>,
    turn: usize,
    began: Instant,
}

impl Crowd {
    fn start(setup: Setup, dir: &Path, servers: &Servers, clock: &Clock) -> Crowd {
        let began = Instant::now();
        // The first of each has a log, where what it keeps in memory is not enough.
        let mut consoles = "[console.con0]\nhistory = '4M'\n\
            log = { file = 'log', index = 'log.index', full = 'hold' }\n"
            .to_owned();
        for console in 1..setup.consoles {
            consoles += &format!("[console.con{console}]\n");
        }
        let host = |number| {
            let dir = Host::prepare(dir, number, servers, &consoles);
            let moved = clock.environment();
            Host::begin(dir, if number == MOVED { &moved } else { &[] })
        };
        let mut crowd = Crowd {
            hosts: (0..setup.hosts).map(host).collect(),
            setup,
            feeds: Vec::new(),
            turn: 0,
            began,
        };
        crowd.feeds = (0..crowd.hosts.len())
            .map(|host| crowd.feeds_of(host, 0))
            .collect();
        crowd.tell("all daemons are there");
        crowd
    }

    fn feeds_of(&self, host: usize, life: usize) -> Vec<Feed> {
        let feed = |console| {
            let begin = self.setup.begin(host, console, life);
            Feed::new(&self.hosts[host], console, begin)
        };
        (0..self.setup.consoles).map(feed).collect()
    }

    /// Every console prints a piece.
    fn print(&mut self) {
        for (number, feed) in self.feeds.iter_mut().flatten().enumerate() {
            feed.print(PIECES[(self.turn + number) % PIECES.len()]);
        }
        self.turn += 1;
    }

    fn print_much(&mut self, count: usize) {
        for _ in 0..count.div_ceil(MIB) {
            self.feeds[LOUD][0].print(MIB);
        }
    }

    /// All prints, again and again, until so much time has passed since `began`.
    fn print_until(&mut self, began: Instant, time: Duration) {
        while began.elapsed() < time {
            let next = Instant::now() + Duration::from_secs(2);
            self.print();
            until("the next turn", || {
                Instant::now() >= next || began.elapsed() >= time
            });
        }
    }

    /// Waits until the stream has all that was printed, for as long as it gets more.
    fn settle(&self, what: &str) {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            let missing = self.missing();
            let count = missing.iter().map(|(_, count)| count).sum();
            if count == 0 {
                return self.tell(what);
            }
            if count < least {
                (least, since) = (count, Instant::now());
            }
            let is_late = since.elapsed() >= Duration::from_secs(60);
            assert!(!is_late, "no more for a minute: {what}: {missing:?}");
            pause();
        }
    }

    /// What is not in the stream of what was printed, by host.
    fn missing(&self) -> Vec<(&str, u64)> {
        let all = self.hosts.iter().zip(&self.feeds);
        let missing = all.map(|(host, feeds)| {
            let printed: u64 = feeds.iter().map(|feed| feed.2).sum();
            (
                &host.name[..],
                printed - host.printed_by_all() + host.behind(),
            )
        });
        missing.filter(|(_, count)| *count > 0).collect()
    }

    fn tell(&self, what: &str) {
        println!("{:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }
}

#[test]
fn every_byte_of_a_crowd_is_in_the_stream_once_whatever_happens() {
    raise_limit();
    let dir = tempfile::tempdir().unwrap();
    let mut clock = Clock::new(dir.path());
    let mut servers = Servers::start();
    let mut crowd = Crowd::start(Setup::from_environment(), dir.path(), &servers, &clock);
    crowd.print();
    crowd.settle("the first output is in the stream");
    let acknowledged: Vec<u64> = crowd.feeds[KILLED].iter().map(|feed| feed.2).collect();
    let mut laggard = Laggard::start(&servers, &crowd.hosts[LOUD].name);
    until("somebody reads along", || {
        crowd.feeds[LOUD][0].print(100);
        laggard.has_begun()
    });

    servers.kill(0);
    crowd.print();
    crowd.print_much(crowd.setup.lag / 2);
    servers.begin(0);
    crowd.tell("a server was killed and has returned");
    crowd.print();
    crowd.settle("all is there after that");

    step_down(&servers);
    crowd.print();
    crowd.tell("the leader was sent away");

    servers.freeze(1, true);
    let (began, frozen) = (Instant::now(), crowd.setup.frozen);
    crowd.tell("a server is frozen");
    crowd.print_until(began, frozen / 4);
    let before: Vec<u64> = crowd.feeds[KILLED].iter().map(|feed| feed.2).collect();
    crowd.hosts[KILLED].daemon.kill();
    crowd.hosts[KILLED].daemon = Host::daemon(&crowd.hosts[KILLED].dir);
    crowd.feeds[KILLED] = crowd.feeds_of(KILLED, 1);
    crowd.tell("a daemon was killed and has returned");
    crowd.print_until(began, frozen / 2);
    for days in [3, -2] {
        clock.set(days);
        crowd.print();
        let index = crowd.hosts[MOVED].dir.join("log.index");
        until("its log has another day", || clock.is_seen_by(&index));
        crowd.tell("a daemon's clock was moved");
    }
    crowd.print_much(crowd.setup.lag / 2);
    crowd.print_until(began, frozen);
    servers.freeze(1, false);
    crowd.tell("it goes on");
    crowd.print();
    crowd.settle("all is there at last");

    let lag = crowd.feeds[LOUD][0].2 - laggard.seen();
    assert!(lag >= crowd.setup.lag as u64, "{lag}");
    laggard.catch_up(crowd.feeds[LOUD][0].2);
    crowd.tell("who read along has all of it");
    let mut account = Account::read(&servers, &crowd.setup);
    crowd.tell(&account.told());
    let mut wrong = Vec::new();
    for (host, feeds) in crowd.feeds.iter().enumerate() {
        let name = &crowd.hosts[host].name;
        for (console, feed) in feeds.iter().enumerate() {
            let lives = account.lives(name, &format!("con{console}"));
            let is_right = match (host, &lives[..]) {
                (KILLED, [first, second]) => {
                    let possible = acknowledged[console]..=before[console];
                    possible.contains(first) && *second == feed.2
                }
                (KILLED, _) => false,
                (_, lives) => lives == [feed.2],
            };
            if !is_right {
                wrong.push(format!("{name} con{console}: {lives:?} of {}", feed.2));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Asks the stream's leader to be one no longer.
fn step_down(servers: &Servers) {
    super::runtime().block_on(async {
        let client = async_nats::connect(servers.addresses("nats")).await;
        let client = client.unwrap();
        let subject = "$JS.API.STREAM.LEADER.STEPDOWN.OUT";
        let answer = client.request(subject, "".into()).await.unwrap();
        let said = String::from_utf8_lossy(&answer.payload);
        assert!(said.contains("\"success\":true"), "{said}");
    });
}

/// Each console takes a descriptor on this side.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
}

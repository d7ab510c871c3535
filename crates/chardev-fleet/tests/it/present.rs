//! Who is up, and what happens there, by a cluster of three real servers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::Context;
use std::time::{Duration, SystemTime};

use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, FrontEnd};
use chardev_fleet::events::{Feed, Heard, Told};
use chardev_fleet::presence::{Console, Roster};
use chardev_fleet::{Fleet, Happening, Look, Program, Progress, Settings, StreamSettings};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::cluster;
use crate::servers::{Servers, until};

/// After how long a host is down that is not heard of. Its thread gives way to all others, so on a
/// busy machine it may be late by seconds.
const TTL: Duration = Duration::from_secs(12);

/// A host and what it tells.
struct Host {
    chardevs: Chardevs,
    fleet: Fleet,
    events: UnboundedSender<Told>,
    fronts: Vec<FrontEnd>,
}

fn settings(servers: &Servers, host: &str) -> Settings {
    Settings {
        presence: TTL,
        ..cluster::settings(servers, host)
    }
}

impl Host {
    fn start(servers: &Servers, name: &str) -> Host {
        Host::with(servers, name, Chardevs::new().unwrap())
    }

    fn with(servers: &Servers, name: &str, chardevs: Chardevs) -> Host {
        let (events, mut told) = unbounded_channel();
        let feed: Feed =
            Box::new(move |cx: &mut Context<'_>| told.poll_recv(cx).map(Option::unwrap));
        let fronts = || HashMap::from([("con0".to_owned(), "isa-serial".to_owned())]);
        let program = Program {
            which: Arc::new(|ids: &mut Vec<String>| ids.retain(|id| id != "monitor")),
            version: "tester 1".to_owned(),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(7),
            fronts: Arc::new(fronts),
            events: Some(feed),
        };
        let settings = settings(servers, name);
        let fleet = Fleet::start(&chardevs, settings, program, Progress::default()).unwrap();
        Host {
            chardevs,
            fleet,
            events,
            fronts: Vec::new(),
        }
    }

    fn add(&mut self, id: &str) {
        let mut options = Options::new("null");
        options.set("x-history", OptionValue::Int(1 << 16));
        self.chardevs.blocking_add(id, options).unwrap();
    }

    fn print(&mut self, id: &str, text: &str) {
        let front = self.chardevs.attach(id).unwrap();
        assert_eq!(front.write(text.as_bytes()), text.len());
        self.fronts.push(front);
    }

    fn tell(&self, console: Option<&str>, text: &str) {
        let told = Told {
            console: console.map(str::to_owned),
            text: text.to_owned(),
        };
        // It fails where nobody is connected any more, which is what some tests are about.
        let _ = self.events.send(told);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// One who looks, once the stream is there.
fn look(runtime: &Runtime, servers: &Servers) -> Look {
    let settings = settings(servers, "reader");
    let mut look = None;
    until("the stream is there", || {
        look = runtime.block_on(Look::open(&settings)).ok();
        look.is_some()
    });
    look.unwrap()
}

fn roster(runtime: &Runtime, look: &Look) -> Roster {
    let hosts = runtime.block_on(look.hosts());
    // While servers look for a leader it fails.
    let hosts = hosts.inspect_err(|error| eprintln!("nobody is seen: {error}"));
    hosts.ok().flatten().unwrap_or_default()
}

/// Waits until what a host says of its console is like that.
fn until_console(
    (runtime, look): (&Runtime, &Look),
    (host, console): (&str, &str),
    what: &str,
    is_it: impl Fn(Option<&Console>) -> bool,
) {
    until(what, || is_it(roster(runtime, look).console(host, console)));
}

#[test]
fn who_is_up_is_known_within_its_time_while_hosts_and_servers_die_and_return() {
    let mut servers = Servers::start();
    let runtime = runtime();
    let mut hosts = ["node.1", "node.2"].map(|name| Host::start(&servers, name));
    let look = look(&runtime, &servers);
    let seen = (&runtime, &look);
    for host in &mut hosts {
        host.add("con0");
        host.add("monitor");
    }
    for host in ["node.1", "node.2"] {
        until_console(seen, (host, "con0"), "both are there", |it| it.is_some());
    }
    let now = roster(&runtime, &look);
    let first = &now.hosts["node.1"];
    assert_eq!(first.host.version, "tester 1");
    assert_eq!((first.host.started, first.host.consoles), (7, 1));
    assert_eq!(first.consoles.len(), 1, "the monitor takes no part");
    let console = &first.consoles["con0"];
    assert_eq!(console.front.as_deref(), Some("isa-serial"));
    assert_eq!((&console.back[..], console.offset), ("null", 0));
    let epoch = hosts[0].chardevs.details("con0").unwrap().epoch;
    assert_eq!(Some(console.epoch), epoch);

    // One more, another back end, and one less, each while a server is down.
    servers.kill(0);
    hosts[0].add("con1");
    until_console(seen, ("node.1", "con1"), "it has come", |it| it.is_some());
    let ring = Options::new("ringbuf");
    hosts[0].chardevs.blocking_change("con1", ring).unwrap();
    until_console(seen, ("node.1", "con1"), "it has changed", |it| {
        it.is_some_and(|it| it.back == "ringbuf")
    });
    servers.begin(0);
    servers.freeze(1, true);
    hosts[0].chardevs.blocking_remove("con1").unwrap();
    until_console(seen, ("node.1", "con1"), "it has gone", |it| it.is_none());
    servers.freeze(1, false);
    // What is printed is no change, and comes with the next time that all is written.
    hosts[0].print("con0", "hello");
    until_console(seen, ("node.1", "con0"), "it has printed", |it| {
        it.is_some_and(|it| it.offset == 5)
    });

    // Killed: what is in the bucket stays there for its time, and then it is down.
    let [one, two] = hosts;
    let Host {
        chardevs, fleet, ..
    } = one;
    drop(fleet);
    until("it is down", || {
        !roster(&runtime, &look).hosts.contains_key("node.1")
    });
    assert!(roster(&runtime, &look).hosts.contains_key("node.2"));
    let back = Host::with(&servers, "node.1", chardevs);
    until_console(seen, ("node.1", "con0"), "it is back", |it| it.is_some());
    let run = roster(&runtime, &look).hosts["node.1"].host.run;
    assert_ne!(run, first.host.run);

    // All servers are gone for longer than anything is kept, and come back.
    (0..3).for_each(|number| servers.kill(number));
    (0..3).for_each(|number| servers.begin(number));
    until("both are there again", || {
        roster(&runtime, &look).hosts.len() == 2
    });
    for fleet in [&back.fleet, &two.fleet] {
        assert!(!fleet.status(&two.chardevs).is_name_taken);
    }
    // Each leaves in its own way, and is gone at once.
    back.fleet.leave();
    assert!(!roster(&runtime, &look).hosts.contains_key("node.1"));
    let Host {
        chardevs, fleet, ..
    } = two;
    chardevs.blocking_remove("con0").unwrap();
    fleet.finish(Duration::from_secs(20));
    assert_eq!(roster(&runtime, &look), Roster::default());
}

#[test]
fn two_hosts_of_one_name_both_come_to_know_that() {
    let servers = Servers::start();
    let [one, other, two] = ["same", "other", "same"].map(|name| Host::start(&servers, name));
    let is_taken = |host: &Host| host.fleet.status(&host.chardevs).is_name_taken;
    until("both know it", || is_taken(&one) && is_taken(&two));
    assert!(!is_taken(&other));
    drop(two);
    until("it is over", || !is_taken(&one));
}

/// While servers look for a leader of the bucket they refuse; here the test does that for them.
#[test]
fn a_host_that_leaves_and_is_refused_at_first_is_gone_all_the_same() {
    let servers = Servers::start();
    let host = Host::start(&servers, "node");
    let Host {
        chardevs, fleet, ..
    } = host;
    until("it is known", || fleet.status(&chardevs).is_present);
    let bucket = format!("{}_HOSTS", settings(&servers, "node").stream.name);
    let deletions = runtime().block_on(async {
        let client = async_nats::connect(servers.addresses("nats"))
            .await
            .unwrap();
        let context = async_nats::jetstream::new(client.clone());
        context.delete_key_value(&bucket).await.unwrap();
        let mut written = client.subscribe(format!("$KV.{bucket}.>")).await.unwrap();
        client.flush().await.unwrap();
        let leaving = tokio::task::spawn_blocking(|| fleet.finish(Duration::from_secs(60)));
        let mut deletions = 0;
        while deletions < 3 {
            let message = tokio::time::timeout(Duration::from_secs(60), written.next()).await;
            let message = message.expect("it gave up").unwrap();
            let headers = message.headers.unwrap_or_default();
            deletions += usize::from(headers.get("KV-Operation").is_some());
            let answer = match deletions {
                1 | 2 => r#"{"error":{"code":503,"err_code":10008,"description":"unavailable"}}"#,
                _ => r#"{"stream":"KV","seq":1}"#,
            };
            let reply = message.reply.unwrap();
            client.publish(reply, answer.into()).await.unwrap();
        }
        leaving.await.unwrap();
        client.flush().await.unwrap();
        deletions + written.next().now_or_never().iter().count()
    });
    assert_eq!(deletions, 3);
}

#[test]
fn a_host_knows_whether_others_know_that_it_is_up() {
    let servers = Servers::start();
    let with = |host: &str, create: bool| {
        let settings = settings(&servers, host);
        Settings {
            stream: StreamSettings {
                create,
                ..settings.stream
            },
            ..settings
        }
    };
    let chardevs = Chardevs::new().unwrap();
    let start = |settings: Settings| {
        let all = Arc::new(|_: &mut Vec<String>| {});
        Fleet::start(&chardevs, settings, all, Progress::default()).unwrap()
    };
    let early = start(with("early", false));
    until("it is connected", || early.status(&chardevs).is_connected);
    assert!(!early.status(&chardevs).is_present, "there is no bucket");
    let maker = start(with("maker", true));
    for fleet in [&early, &maker] {
        until("it is known", || fleet.status(&chardevs).is_present);
    }
    let runtime = runtime();
    let look = look(&runtime, &servers);
    let hosts: Vec<_> = roster(&runtime, &look).hosts.into_keys().collect();
    assert_eq!(hosts, ["early", "maker"]);
    let mut servers = servers;
    (0..3).for_each(|number| servers.kill(number));
    until("it is not known any more", || {
        !early.status(&chardevs).is_present
    });
}

#[test]
fn who_looks_while_all_is_written_again_and_again_misses_nobody() {
    const CONSOLES: usize = 350;
    let servers = Servers::start();
    let runtime = runtime();
    let hosts: Vec<_> = (0..8)
        .map(|number| {
            let chardevs = Chardevs::new().unwrap();
            for console in 0..CONSOLES {
                let id = format!("con{console}");
                chardevs.blocking_add(&id, Options::new("null")).unwrap();
            }
            let settings = Settings {
                // Each key is written every 50 ms, and kept for longer than servers pause.
                presence: Duration::from_millis(150),
                stream: StreamSettings {
                    create: false,
                    ..settings(&servers, "").stream
                },
                ..settings(&servers, &format!("node.{number}"))
            };
            let all = Arc::new(|_: &mut Vec<String>| {});
            let fleet = Fleet::start(&chardevs, settings, all, Progress::default()).unwrap();
            (chardevs, fleet)
        })
        .collect();
    let _maker = Host::start(&servers, "maker");
    let look = look(&runtime, &servers);
    let is_whole = |roster: &Roster| {
        let present = roster.hosts.iter().filter(|(name, _)| *name != "maker");
        let whole = present.filter(|(_, it)| it.consoles.len() == CONSOLES);
        whole.count() == hosts.len()
    };
    until("all are there", || is_whole(&roster(&runtime, &look)));
    for number in 0..200 {
        let now = runtime.block_on(look.hosts()).unwrap().unwrap();
        assert!(is_whole(&now), "{number}: {:?}", now.hosts.keys());
    }
}

#[test]
fn a_cluster_without_presence_says_so() {
    let servers = Servers::start();
    let runtime = runtime();
    let settings = Settings {
        presence: Duration::ZERO,
        ..settings(&servers, "node")
    };
    let chardevs = Chardevs::new().unwrap();
    let all = Arc::new(|_: &mut Vec<String>| {});
    let _fleet = Fleet::start(&chardevs, settings, all, Progress::default()).unwrap();
    let look = look(&runtime, &servers);
    assert_eq!(runtime.block_on(look.hosts()).unwrap(), None);
    let other = Settings {
        stream: StreamSettings {
            name: "GONE".to_owned(),
            ..StreamSettings::default()
        },
        ..self::settings(&servers, "reader")
    };
    let said = runtime.block_on(Look::open(&other)).unwrap_err();
    assert!(said.to_string().contains("no stream 'GONE'"), "{said}");
}

/// Listens to hosts on a thread of its own, which ends with the test; what it hears comes in order.
fn listen(servers: &Servers, hosts: &[&str]) -> Receiver<Happening> {
    let settings = settings(servers, "reader");
    let hosts: Vec<String> = hosts.iter().map(|it| (*it).to_owned()).collect();
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let look = Look::open(&settings).await.unwrap();
            let each = async |it| sender.send(it).is_ok();
            look.listen(&hosts, each).await.unwrap();
        });
    });
    heard
}

fn event(host: &str, console: Option<&str>, text: &str, missed: u64) -> Happening {
    Happening::Event(Heard {
        host: host.to_owned(),
        console: console.map(str::to_owned),
        missed,
        text: text.to_owned(),
    })
}

/// Tells something until somebody hears it, who listens from then on.
fn until_heard(host: &Host, listener: &Receiver<Happening>) {
    until("somebody listens", || {
        host.tell(Some("con 0"), "ready");
        listener.try_recv().is_ok()
    });
}

/// What is heard next, apart from what [`until_heard`] tells.
fn next(listener: &Receiver<Happening>) -> Happening {
    loop {
        match listener.recv_timeout(Duration::from_secs(60)).unwrap() {
            Happening::Event(it) if it.text == "ready" => assert_eq!(it.missed, 0),
            other => return other,
        }
    }
}

#[test]
fn events_are_heard_by_all_who_listen_and_what_is_missed_is_known() {
    let mut servers = Servers::start();
    let hosts = ["node.1", "node.2"].map(|name| Host::start(&servers, name));
    // The stream is there, which everybody asks for.
    look(&runtime(), &servers);
    let [all, second] = [&[][..], &["node.2"]].map(|hosts| listen(&servers, hosts));
    for listener in [&all, &second] {
        until_heard(&hosts[1], listener);
    }
    until_heard(&hosts[0], &all);
    hosts[1].tell(None, "{}");
    hosts[1].tell(Some("con 0"), "one");
    for listener in [&all, &second] {
        let mut heard = [next(listener), next(listener)];
        heard.sort_by_key(|it| format!("{it:?}"));
        let of_console = event("node.2", Some("con 0"), "one", 0);
        assert_eq!(heard[0], event("node.2", None, "{}", 0));
        assert_eq!(heard[1], of_console);
    }
    // Too long for any message: whoever listens knows that one is missing.
    hosts[0].tell(Some("con 0"), &"x".repeat(2 << 20));
    hosts[0].tell(Some("con 0"), "two");
    assert_eq!(next(&all), event("node.1", Some("con 0"), "two", 1));

    // The servers die: that is told, and what happened meanwhile is heard later, or counted.
    (0..3).for_each(|number| servers.kill(number));
    assert_eq!(next(&all), Happening::Lost);
    for _ in 0..500 {
        hosts[0].tell(Some("con 0"), "away");
    }
    (0..3).for_each(|number| servers.begin(number));
    let (mut told, mut accounted, mut is_back) = (0, 0, false);
    until("the end is heard", || {
        told += 1;
        hosts[0].tell(Some("con 0"), &format!("end {told}"));
        all.try_iter().any(|happening| match happening {
            Happening::Back => {
                is_back = true;
                false
            }
            Happening::Lost => false,
            Happening::Event(it) => {
                accounted += it.missed + 1;
                match it.text.strip_prefix("end ") {
                    Some(number) => {
                        assert_eq!(accounted, 500 + number.parse::<u64>().unwrap());
                        true
                    }
                    None => false,
                }
            }
        })
    });
    assert!(is_back);
}

#[test]
fn who_listens_slowly_is_told_how_much_that_cost_and_costs_nobody_else_anything() {
    const COUNT: u64 = 90_000;
    let servers = Servers::start();
    let host = Host::start(&servers, "node");
    look(&runtime(), &servers);
    let brisk = listen(&servers, &[]);
    // It takes nothing before it may.
    let (go, may) = oneshot::channel::<()>();
    let settings = settings(&servers, "reader");
    let (sender, slow) = channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let look = Look::open(&settings).await.unwrap();
            let mut may = Some(may);
            let each = async |it| {
                let is_sent = sender.send(it).is_ok();
                if let Some(may) = may.take() {
                    // The test has ended where this fails.
                    let _ = may.await;
                }
                is_sent
            };
            look.listen(&[], each).await.unwrap();
        });
    });
    for listener in [&brisk, &slow] {
        until_heard(&host, listener);
    }
    let mut all = (0..COUNT).peekable();
    while all.peek().is_some() {
        // As many as one who takes them finds room for, however late that is.
        let some: Vec<_> = all.by_ref().take(5000).collect();
        for number in &some {
            host.tell(Some("con 0"), &number.to_string());
        }
        for number in some {
            let Happening::Event(it) = next(&brisk) else {
                panic!("the connection is lost");
            };
            assert_eq!((it.missed, it.text), (0, number.to_string()));
        }
    }
    go.send(()).unwrap();
    // The last ones are among those that were missed, which the next one tells.
    host.tell(Some("con 0"), "end");
    let (mut heard, mut missed) = (0, 0);
    loop {
        let Happening::Event(it) = next(&slow) else {
            panic!("the connection is lost");
        };
        missed += it.missed;
        if it.text == "end" {
            break;
        }
        heard += 1;
    }
    assert!(missed > 0 && heard > 0, "{heard} heard, {missed} missed");
    assert_eq!(heard + missed, COUNT);
}

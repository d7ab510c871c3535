//! Somebody has the key of one host, and tries to get at another one's consoles. The servers have
//! the configuration of docs/fleet.md.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, ServerError};
use bytes::Bytes;
use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, Epoch, FrontEnd};
use chardev_fleet::presence::{Host as PresentHost, Page};
use chardev_fleet::reader::Found;
use chardev_fleet::subject::Name;
use chardev_fleet::{Archive, Fleet, Look, Progress, Settings, StreamSettings, Until};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::secure::Secure;
use crate::servers::until;

const STREAM: &str = "CHARDEV_LAB";
/// The bucket of hosts as a stream, and the other host's key in it.
const BUCKET: &str = "KV_CHARDEV_LAB_HOSTS";
const KEY: &str = "$KV.CHARDEV_LAB_HOSTS.node8";

/// What the thief asks of the servers, and sends to others.
const PUBLISHED: [&str; 62] = [
    "chardev.lab.node8.con.out",
    "chardev.lab.node8.other.out",
    "chardev.lab.node8.con.in",
    "chardev.lab.node7.con.in",
    "chardev.lab.node8.con.events",
    "chardev.lab.node8.events",
    "chardev.lab.node80.con.events",
    "chardev.lab.node7.con.more.events",
    "chardev.lab.node8.qmp",
    "chardev.lab.node8",
    "chardev.lab.node80.con.out",
    "chardev.other.node7.con.out",
    "chardev.lab.node7.con.more.out",
    "chardev.lab.node7.out",
    KEY,
    "$KV.CHARDEV_LAB_HOSTS.node8.0",
    "$KV.CHARDEV_LAB_HOSTS.node80",
    "$KV.CHARDEV_LAB_HOSTS.node7.0.more",
    "$KV.OTHER.node7",
    "$O.hosts.C.node8",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.CHARDEV_LAB",
    "$JS.API.STREAM.CREATE.CHARDEV_LAB",
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.STREAM.UPDATE.CHARDEV_LAB",
    "$JS.API.STREAM.DELETE.CHARDEV_LAB",
    "$JS.API.STREAM.PURGE.CHARDEV_LAB",
    "$JS.API.STREAM.MSG.GET.CHARDEV_LAB",
    "$JS.API.STREAM.MSG.DELETE.CHARDEV_LAB",
    "$JS.API.STREAM.SNAPSHOT.CHARDEV_LAB",
    "$JS.API.STREAM.RESTORE.CHARDEV_LAB",
    "$JS.API.STREAM.PEER.REMOVE.CHARDEV_LAB",
    "$JS.API.STREAM.LEADER.STEPDOWN.CHARDEV_LAB",
    "$JS.API.STREAM.INFO.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.CREATE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.UPDATE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.DELETE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.PURGE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.MSG.DELETE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.DIRECT.GET.CHARDEV_LAB",
    "$JS.API.DIRECT.GET.CHARDEV_LAB.chardev.lab.node8.con.out",
    "$JS.API.DIRECT.GET.KV_CHARDEV_LAB_HOSTS.$KV.CHARDEV_LAB_HOSTS.node8",
    "$JS.API.CONSUMER.CREATE.CHARDEV_LAB",
    "$JS.API.CONSUMER.CREATE.CHARDEV_LAB.mine.chardev.lab.node8.con.out",
    "$JS.API.CONSUMER.DURABLE.CREATE.CHARDEV_LAB.mine",
    "$JS.API.CONSUMER.LIST.CHARDEV_LAB",
    "$JS.API.CONSUMER.DELETE.CHARDEV_LAB.other",
    "$JS.API.CONSUMER.MSG.NEXT.CHARDEV_LAB.other",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.ACK.CHARDEV_LAB.other.1.1.1.1.0",
    "$JS.FC.CHARDEV_LAB.other.1",
    "$NRG.AE.1",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.CHARDEV.CONNZ",
    "chardev.lab.node8.qmp.view",
    "chardev.lab.node8.qmp.attach",
    "chardev.lab.node8.qmp.change",
    "chardev.lab.node8.qmp.admin",
    "chardev.lab.node7.qmp.admin",
    "_CHARDEV.any.1234",
];

/// Where the thief would hear something.
const HEARD: [&str; 22] = [
    ">",
    "*.*.*.*.*",
    "chardev.>",
    "chardev.lab.node8.con.out",
    "chardev.lab.*.*.out",
    "chardev.lab.node8.con.in",
    "chardev.lab.node8.*.in",
    "chardev.lab.*.*.in",
    "chardev.lab.node8.con.events",
    "chardev.lab.*.events",
    "chardev.lab.node8.qmp",
    "chardev.lab.*.qmp",
    "$KV.>",
    "$KV.CHARDEV_LAB_HOSTS.node8",
    "$JS.>",
    "$JS.API.STREAM.INFO.*",
    "$SYS.>",
    "_R_.>",
    "chardev.lab.node8.qmp.view",
    "chardev.lab.*.qmp.*",
    "chardev.lab.node8.qmp.*",
    "_CHARDEV.>",
];

/// Where the thief has the server send an answer, which it may ask for with a message of its own.
const ANSWERED: [&str; 14] = [
    "chardev.lab.node8.con.out",
    "chardev.lab.node8.con.in",
    "chardev.lab.node8.con.events",
    "chardev.lab.node8.qmp",
    "chardev.lab.node8.qmp.admin",
    "_CHARDEV.any.1234",
    KEY,
    "$JS.API.STREAM.PURGE.CHARDEV_LAB",
    "$JS.API.STREAM.PURGE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.DELETE.KV_CHARDEV_LAB_HOSTS",
    "$JS.API.STREAM.MSG.DELETE.CHARDEV_LAB",
    "$JS.API.STREAM.DELETE.CHARDEV_LAB",
    "$JS.API.STREAM.LEADER.STEPDOWN.CHARDEV_LAB",
    "$JS.API.CONSUMER.CREATE.CHARDEV_LAB",
];

fn settings(secure: &Secure, host: &str, key: &str) -> Settings {
    Settings {
        servers: secure.servers.addresses("tls"),
        cluster: "lab".to_owned(),
        host: host.to_owned(),
        nkey: Some(secure.key(key)),
        ca: Some(secure.ca()),
        qmp: None,
        stream: StreamSettings {
            name: STREAM.to_owned(),
            create: key == "OPERATOR",
            replicas: 3,
            ..StreamSettings::default()
        },
        ..Settings::default()
    }
}

/// A host with one console.
struct Host {
    chardevs: Chardevs,
    fleet: Fleet,
    front: Option<FrontEnd>,
}

impl Host {
    fn start(settings: Settings) -> Host {
        let chardevs = Chardevs::new().unwrap();
        let all = Arc::new(|_: &mut Vec<String>| {});
        let fleet = Fleet::start(&chardevs, settings, all, Progress::default()).unwrap();
        Host {
            chardevs,
            fleet,
            front: None,
        }
    }

    fn print(&mut self, text: &str) {
        let chardevs = &self.chardevs;
        let front = self.front.get_or_insert_with(|| {
            let mut options = Options::new("null");
            options.set("x-history", OptionValue::Int(1 << 16));
            chardevs.blocking_add("con", options).unwrap();
            chardevs.attach("con").unwrap()
        });
        assert_eq!(front.write(text.as_bytes()), text.len());
    }

    fn is_up_to_date(&self) -> bool {
        let status = self.fleet.status(&self.chardevs);
        status.is_connected && status.behind == 0
    }
}

/// Somebody with a key, and what the servers refuse them.
struct Somebody {
    client: Client,
    refused: Mutex<UnboundedReceiver<String>>,
}

impl Somebody {
    async fn connect(secure: &Secure, key: &str) -> Somebody {
        let (tell, refused) = unbounded_channel();
        let seed = std::fs::read_to_string(secure.key(key)).unwrap();
        let options = ConnectOptions::with_nkey(seed)
            .add_root_certificates(secure.ca())
            .retry_on_initial_connect()
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(error)) = event {
                    // The test has all it wants once nobody listens.
                    let _ = tell.send(error);
                }
                std::future::ready(())
            });
        let client = options.connect(secure.servers.addresses("tls")).await;
        Somebody {
            client: client.unwrap(),
            refused: Mutex::new(refused),
        }
    }

    /// Waits until the server says that it refuses this.
    async fn is_refused(&self, what: &str, subject: &str) {
        self.client.flush().await.unwrap();
        let refusal = format!("permissions violation for {what} to \"{subject}\"");
        let mut refused = self.refused.lock().await;
        let said = tokio::time::timeout(Duration::from_secs(60), refused.recv()).await;
        let said = said.unwrap_or_else(|_| panic!("not refused: {what} to {subject}"));
        assert_eq!(said.unwrap().to_lowercase(), refusal.to_lowercase());
    }
}

/// The number of the last message in a stream, and how many there are about the other host.
async fn state(operator: &jetstream::Context, stream: &str, of_other: &str) -> (u64, usize) {
    let stream = operator.get_stream(stream).await.unwrap();
    let mut subjects = stream.info_with_subjects(of_other).await.unwrap();
    let mut count = 0;
    while let Some(subject) = subjects.next().await {
        count += subject.unwrap().1;
    }
    (subjects.info.state.last_sequence, count)
}

fn read(runtime: &Runtime, archive: &Archive, host: &str) -> String {
    let name = Name {
        cluster: "lab".to_owned(),
        host: host.to_owned(),
        console: "con".to_owned(),
    };
    let mut text = Vec::new();
    let each = |found| {
        match found {
            Found::Output { offset, bytes, .. } => {
                assert_eq!(offset, text.len() as u64);
                text.extend_from_slice(&bytes);
            }
            other => panic!("{other:?}"),
        }
        true
    };
    runtime
        .block_on(archive.read(&name, Until::Now, each))
        .unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn with_the_key_of_one_host_nobody_gets_at_what_another_one_has() {
    let secure = Secure::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _within = runtime.enter();
    let maker = Host::start(settings(&secure, "operator", "OPERATOR"));
    let operator = runtime.block_on(Somebody::connect(&secure, "OPERATOR"));
    let stream = jetstream::new(operator.client.clone());
    until("the operator has made the stream and the bucket", || {
        let is_there = |name| runtime.block_on(stream.get_stream(name)).is_ok();
        [STREAM, BUCKET].into_iter().all(is_there)
    });
    drop(maker);
    let mut hosts = [("node7", "NODE7"), ("node8", "NODE8")]
        .map(|(host, key)| Host::start(settings(&secure, host, key)));
    for host in &mut hosts {
        host.print("before\n");
    }
    until("both hosts are in the stream", || {
        hosts.iter().all(Host::is_up_to_date)
    });

    let reader = settings(&secure, "reader", "READER");
    let look = runtime.block_on(Look::open(&reader)).unwrap();
    let run_of = |host: &str| {
        let roster = runtime.block_on(look.hosts()).unwrap().unwrap();
        roster.console(host, "con")?;
        Some(roster.hosts[host].host.run)
    };
    let mut runs = [None; 2];
    until("both hosts are up", || {
        runs = ["node7", "node8"].map(run_of);
        runs.iter().all(Option::is_some)
    });

    runtime.block_on(attack(&secure, &operator, &stream, runs[1].unwrap()));
    assert_eq!(["node7", "node8"].map(run_of), runs);

    for host in &mut hosts {
        host.print("after\n");
    }
    until("both hosts go on", || hosts.iter().all(Host::is_up_to_date));
    let archive = runtime.block_on(Archive::open(&reader)).unwrap();
    assert_eq!(read(&runtime, &archive, "node7"), "before\nafter\n");
    assert_eq!(read(&runtime, &archive, "node8"), "before\nafter\n");
}

/// All that the thief tries, and what comes of it for the other host, which is in that run.
async fn attack(secure: &Secure, operator: &Somebody, stream: &jetstream::Context, run: Epoch) {
    let mut others = Vec::new();
    for subject in [
        "chardev.lab.node8.>",
        "_INBOX.of.others",
        &format!("{KEY}.>"),
        KEY,
    ] {
        others.push(operator.client.subscribe(subject.to_owned()).await.unwrap());
    }
    operator.client.flush().await.unwrap();
    let before = state(stream, STREAM, "chardev.lab.node8.*.out").await;
    let bucket = stream
        .get_stream(BUCKET)
        .await
        .unwrap()
        .cached_info()
        .created;
    let thief = Somebody::connect(secure, "NODE7").await;
    for subject in PUBLISHED.into_iter().chain(["_INBOX.of.others"]) {
        thief.client.publish(subject, Bytes::new()).await.unwrap();
        thief.is_refused("publish", subject).await;
    }
    for subject in HEARD {
        let heard = thief.client.subscribe(subject).await.unwrap();
        thief.is_refused("subscription", subject).await;
        drop(heard);
    }
    // It may print on a console of its own, and so on; that is answered, but not to others.
    let [own, own_key] = [
        "chardev.lab.node7.trick.out",
        "$KV.CHARDEV_LAB_HOSTS.node7.77",
    ];
    let own_events = ["chardev.lab.node7.events", "chardev.lab.node7.trick.events"];
    for reply in ANSWERED.into_iter().chain(["_INBOX.of.others"]) {
        for subject in [own, own_key].into_iter().chain(own_events) {
            let client = &thief.client;
            let sent = client.publish_with_reply(subject, reply, "x".into()).await;
            sent.unwrap();
        }
    }
    let mut refused = 0;
    let streams = jetstream::new(thief.client.clone());
    for (subject, rollup) in [
        (own, "all"),
        (own, "sub"),
        (own_key, "all"),
        (own_key, "sub"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", rollup);
        let sent = streams.publish_with_headers(subject, headers, "x".into());
        refused += usize::from(sent.await.unwrap().await.is_err());
    }
    assert_eq!(refused, 4, "it may not replace what is there");
    // It may say that it is gone itself.
    let mut headers = HeaderMap::new();
    headers.insert("KV-Operation", "PURGE");
    let sent = streams.publish_with_headers(own_key, headers, Bytes::new());
    sent.await.unwrap().await.unwrap();
    let sent = streams.publish(own, "the last".into());
    sent.await.unwrap().await.unwrap();

    let after = state(stream, STREAM, "chardev.lab.node8.*.out").await;
    let own = ANSWERED.len() as u64 + 2;
    assert_eq!(after, (before.0 + own, before.1));
    let same = stream
        .get_stream(BUCKET)
        .await
        .unwrap()
        .cached_info()
        .created;
    assert_eq!(same, bucket);
    // What came to the other host's subjects, or to the inbox, would be here by now.
    operator
        .client
        .publish("_INBOX.of.others", "end".into())
        .await
        .unwrap();
    let end = others[1].next().await.unwrap();
    assert_eq!(&end.payload[..], b"end");
    let early = tokio::time::timeout(Duration::ZERO, others[0].next()).await;
    assert!(early.is_err(), "{early:?}");
    // What was written about the other host meanwhile, it has written itself.
    for keys in &mut others[2..] {
        while let Ok(Some(written)) = tokio::time::timeout(Duration::ZERO, keys.next()).await {
            let of_host = written.subject.as_str() == KEY;
            let by = match of_host {
                true => PresentHost::read(&written.payload).map(|it| it.run),
                false => Page::read(&written.payload).map(|it| it.run),
            };
            assert_eq!(by, Ok(run), "{written:?}");
        }
    }
}

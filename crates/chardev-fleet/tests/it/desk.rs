//! Hosts that serve those who come over the fleet, with the accounts of docs/fleet.md: who gets in,
//! who does not, and what a host's key opens of another host's sessions.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use chardev_fleet::session::{Frame, Id, Kind, SESSION};
use chardev_fleet::{Answered, Blind, Desk, Gate, Opened, Serve, Served, Settings, Wanted};
use chardev_load::lines::{Form, Lines};
use futures_util::StreamExt as _;
use rustix::event::PollFlags;

use crate::secure::Secure;
use crate::servers::{Servers, until};

const ROLES: &[&str] = &["view", "attach", "change", "admin"];
const LIMIT: Duration = Duration::from_secs(20);

/// Says who it is and what one has come as, and then whatever is said.
struct Echo(&'static str);

impl Serve for Echo {
    fn session(
        &self,
        role: &str,
        from: Option<&str>,
        wanted: Wanted<'_>,
    ) -> Result<Served, String> {
        if wanted != Wanted::Monitor {
            return Err("there is nothing else".to_owned());
        }
        if role == "admin" {
            return Err("nobody is admin here".to_owned());
        }
        let greeting = format!("{} {role} {}\n", self.0, from.unwrap_or("nobody"));
        let (ours, mut socket) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            socket.write_all(greeting.as_bytes()).unwrap();
            let mut reader = socket.try_clone().unwrap();
            // Whoever is there may leave at any time.
            let _ = std::io::copy(&mut reader, &mut socket);
        });
        let place = Box::new(());
        Ok(Served {
            socket: ours,
            place,
        })
    }

    fn request(&self, role: &str, _from: Option<&str>, command: Bytes) -> Answered {
        let answer = [self.0.as_bytes(), b" ", role.as_bytes(), b" ", &command].concat();
        Box::pin(async move { answer.into() })
    }
}

fn settings(secure: &Secure, host: &str, key: &str) -> Settings {
    Settings {
        servers: secure.servers.addresses("tls"),
        cluster: "lab".to_owned(),
        host: host.to_owned(),
        nkey: Some(secure.key(key)),
        ca: Some(secure.ca()),
        ..Settings::default()
    }
}

fn gate(secure: &Secure, key: &str) -> Gate {
    Gate::open(&settings(secure, "", key), LIMIT).unwrap()
}

/// A session that greets as it should.
fn opened(gate: &Gate, host: &str, role: &str) -> BufReader<UnixStream> {
    let mut opened = Err(Blind::HostSilent {
        host: host.to_owned(),
        limit: LIMIT,
    });
    // Its desk may not have been opened yet.
    until("it is served", || {
        opened = gate.session(host, role, LIMIT);
        !matches!(opened, Err(Blind::NoHost { .. }))
    });
    let Opened { stream, .. } = opened.unwrap();
    let mut stream = BufReader::new(stream);
    let mut greeting = String::new();
    stream.read_line(&mut greeting).unwrap();
    assert!(
        greeting.starts_with(&format!("{host} {role} ")),
        "{greeting}"
    );
    stream
}

/// What was said comes back, from that place of a text on.
fn echoes(stream: &mut BufReader<UnixStream>, begin: u64, count: usize) {
    let mut text = vec![0; count];
    Lines::from_offset(Form::Padded, begin).fill(&mut text);
    let (mut writer, written) = (stream.get_ref().try_clone().unwrap(), text.clone());
    let writing = std::thread::spawn(move || writer.write_all(&written).unwrap());
    let mut read = vec![0; count];
    stream.read_exact(&mut read).unwrap();
    writing.join().unwrap();
    assert!(read == text, "at {begin}");
}

#[test]
fn whoever_the_servers_let_in_is_served_and_nobody_else() {
    let secure = Secure::start();
    let desks = [("node7", "NODE7"), ("node8", "NODE8")].map(|(host, key)| {
        let desk = Desk::start(settings(&secure, host, key), ROLES, Arc::new(Echo(host)));
        desk.unwrap()
    });
    let operator = gate(&secure, "OPERATOR");
    let mut session = opened(&operator, "node8", "attach");
    echoes(&mut session, 0, 2 << 20);
    let mut other = opened(&operator, "node7", "view");
    let refused = |gate: &Gate, host: &str, role: &str| {
        let refused = gate.session(host, role, LIMIT);
        refused.expect_err("it is refused").to_string()
    };
    let said = refused(&operator, "node8", "admin");
    assert_eq!(said, "host 'node8' refuses: nobody is admin here");
    let said = refused(&operator, "node9", "view");
    assert!(
        said.starts_with("nobody serves the host 'node9' as 'view'"),
        "{said}"
    );
    let viewer = gate(&secure, "VIEWER");
    echoes(&mut opened(&viewer, "node8", "view"), 7, 100);
    for (key, host, role) in [
        ("VIEWER", "node8", "attach"),
        ("VIEWER", "node8", "admin"),
        ("READER", "node8", "view"),
        ("NODE7", "node8", "view"),
        ("NODE7", "node8", "admin"),
        ("NODE7", "node7", "view"),
    ] {
        let said = refused(&gate(&secure, key), host, role);
        let (sent, heard) = ("Violation for Publish", "Violation for Subscription");
        assert!(said.contains(sent) || said.contains(heard), "{key}: {said}");
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(disturb(&secure, &mut session));
    echoes(&mut session, 1 << 32, 1 << 20);
    echoes(&mut other, 2 << 32, 1000);

    for desk in desks {
        desk.finish(Duration::from_millis(10));
    }
    let mut rest = Vec::new();
    session.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn whoever_waits_does_a_gate_s_work_and_after_that_its_thread_does() {
    let secure = Secure::start();
    let desk = Desk::start(
        settings(&secure, "node8", "NODE8"),
        ROLES,
        Arc::new(Echo("node8")),
    );
    let _desk = desk.unwrap();
    let operator = gate(&secure, "OPERATOR");
    let mut session = opened(&operator, "node8", "attach");
    // The kernel does not wait for files: they are always ready.
    let file = tempfile::tempfile().unwrap();
    let (gone, other) = UnixStream::pair().unwrap();
    drop(other);
    for round in 0..3_u64 {
        let mut driver = operator.drive().unwrap();
        let mut stream = session.get_ref();
        let (echo, nothing) = (
            (session.get_ref().as_fd(), PollFlags::IN),
            PollFlags::empty(),
        );
        for key in 0..100_u8 {
            stream.write_all(&[key]).unwrap();
            let found = driver.poll(&[echo, echo], Some(LIMIT)).unwrap();
            assert_eq!(found, [PollFlags::IN; 2]);
            let mut read = [0; 2];
            assert_eq!((stream.read(&mut read).unwrap(), read[0]), (1, key));
        }
        let short = Some(Duration::from_millis(5));
        assert_eq!(driver.poll(&[echo], short).unwrap(), [nothing]);
        let file = (file.as_fd(), PollFlags::IN);
        let found = driver.poll(&[echo, file], Some(LIMIT)).unwrap();
        assert_eq!(found, [nothing, PollFlags::IN]);
        let gone = (gone.as_fd(), PollFlags::empty());
        let found = driver.poll(&[echo, gone], Some(LIMIT)).unwrap();
        assert_eq!(found, [nothing, PollFlags::HUP]);
        // Who always has something else to do waits for sessions all the same.
        stream.write_all(b"k").unwrap();
        until("the echo comes", || {
            !driver.poll(&[file, echo], None).unwrap()[1].is_empty()
        });
        assert_eq!(stream.read(&mut [0; 2]).unwrap(), 1);
        drop(driver);
        echoes(&mut session, (round + 1) << 32, 1 << 20);
    }
}

/// With the key of the one host, and that of a reader, somebody gets at a session with the other.
async fn disturb(secure: &Secure, session: &mut BufReader<UnixStream>) {
    let connect = async |key: &str| {
        let seed = std::fs::read_to_string(secure.key(key)).unwrap();
        let options = ConnectOptions::with_nkey(seed).add_root_certificates(secure.ca());
        options
            .connect(secure.servers.addresses("tls"))
            .await
            .unwrap()
    };
    let (host, thief, reader) = (
        connect("NODE8").await,
        connect("NODE7").await,
        connect("READER").await,
    );
    // What only the host itself can know: how the session is called, and where it is answered.
    let mut known = host
        .subscribe("chardev.lab.node8.qmp.attach")
        .await
        .unwrap();
    let mut heard = reader.subscribe("_INBOX.>").await.unwrap();
    for client in [&host, &reader] {
        client.flush().await.unwrap();
    }
    let (mut reply, mut id) = (None, None);
    let mut begin = 9 << 32;
    while reply.is_none() {
        echoes(session, begin, 1000);
        begin += 1000;
        while let Ok(Some(message)) =
            tokio::time::timeout(Duration::from_millis(100), known.next()).await
        {
            let name = message
                .headers
                .as_ref()
                .and_then(|it| it.get(SESSION).cloned());
            id = name.and_then(|it| it.as_str().split(' ').next()?.parse::<Id>().ok());
            reply = reply.or(message.reply);
        }
    }
    let (reply, id) = (reply.unwrap().to_string(), id.unwrap());
    for (subject, kind) in [
        (reply.as_str(), Kind::Data),
        (reply.as_str(), Kind::Reset("it is over".to_owned())),
        ("chardev.lab.node8.qmp.attach", Kind::Reset(String::new())),
        ("chardev.lab.node8.qmp.attach", Kind::Data),
    ] {
        let frame = Frame {
            kind,
            offset: 0,
            payload: Bytes::from_static(&[b'!'; 10_000]),
            end: Some(0),
            ..Frame::reset(id, "")
        };
        send(&thief, subject, &frame).await;
    }
    thief.flush().await.unwrap();
    let mut own = 0;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::ZERO, heard.next()).await {
        own += usize::from(message.headers.is_some_and(|it| it.get(SESSION).is_some()));
    }
    assert_eq!(own, 0, "a reader has heard of sessions");
}

async fn send(client: &Client, subject: &str, frame: &Frame) {
    let mut headers = HeaderMap::new();
    headers.insert(SESSION, frame.header());
    let sent = client.publish_with_headers(subject.to_owned(), headers, frame.payload());
    sent.await.unwrap();
}

#[test]
fn sessions_are_few_and_a_command_needs_none() {
    let servers = Servers::start();
    let settings = Settings {
        servers: servers.addresses("nats"),
        cluster: "lab".to_owned(),
        host: "node".to_owned(),
        ..Settings::default()
    };
    let desk = Desk::start(settings.clone(), ROLES, Arc::new(Echo("node"))).unwrap();
    let gate = Gate::open(&settings, LIMIT).unwrap();
    let mut sessions = vec![opened(&gate, "node", "view")];
    sessions.extend((1..64).map(|_| opened(&gate, "node", "view")));
    let said = gate
        .session("node", "view", LIMIT)
        .expect_err("there are many");
    let said = said.to_string();
    assert_eq!(
        said,
        "host 'node' refuses: there are 64 sessions already; end some"
    );
    for (number, session) in sessions.iter_mut().enumerate() {
        echoes(session, (number as u64) << 32, 500);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(async {
        let client = async_nats::connect(servers.addresses("nats"))
            .await
            .unwrap();
        let answer = client.request("chardev.lab.node.qmp.change", "what".into());
        answer.await.unwrap().payload
    });
    assert_eq!(&answer[..], b"node change what");
    // One that is left makes room.
    drop(sessions.pop());
    until("there is room", || {
        gate.session("node", "view", LIMIT).is_ok()
    });
    drop(desk);
}

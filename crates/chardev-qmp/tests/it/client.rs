//! The client against a session, over a pipe made of memory.

use std::io::{self, Read, Write};
use std::time::Duration;

use chardev_qapi::{Json, Object};
use chardev_qmp::client::{Client, ClientError};
use chardev_qmp::{Command, Event, Session, SessionConfig, Version};

/// A server within reach: what is written goes to the session, which answers at once.
struct Server {
    session: Session,
}

impl Server {
    fn new() -> Self {
        let version = Version {
            major: 10,
            minor: 0,
            micro: 2,
            package: String::new(),
        };
        let kinds = crate::kinds::KINDS.to_vec();
        let config = SessionConfig {
            version,
            pretty: true,
            oob_offered: true,
            kinds,
        };
        let mut session = Session::new(config);
        session.handle_connect();
        Server { session }
    }
}

impl Read for Server {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.session.output().len().min(buffer.len()).min(7);
        buffer[..count].copy_from_slice(&self.session.output()[..count]);
        self.session.consume_output(count);
        Ok(count)
    }
}

impl Write for Server {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.session.handle_bytes(bytes);
        while let Some(request) = self.session.poll_request() {
            let event = Event::new("STOP", None, Duration::from_micros(5));
            self.session.send_event(&event);
            let result = match request.command {
                Command::QueryChardev => Ok(vec![
                    Object::new()
                        .with("label", "con0")
                        .with("filename", "null")
                        .with("frontend-open", true),
                ]
                .into()),
                Command::ChardevAdd { id, options } if options.kind() == "pty" => {
                    Ok(Object::new().with("pty", format!("/dev/{id}")).into())
                }
                Command::ChardevChange { .. } => Ok(Json::empty()),
                Command::RingbufRead { size: 7, .. } => Ok("text".into()),
                Command::QueryName => Ok(Object::new().with("name", "vm").into()),
                command => Err(format!("no {command:?}").into()),
            };
            self.session.respond(request.token, result);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn commands_answers_events() {
    let mut client = Client::connect(Server::new()).expect("a greeting");
    assert!(client.greeting().get("QMP").is_some());
    let name = client
        .execute("query-name", Object::new())
        .expect("an answer");
    assert_eq!(name.get("name"), Some(&Json::from("vm")));
    let events = client.take_events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].name, "STOP");
    assert_eq!(events[0].timestamp, Duration::from_micros(5));
    match client.execute("chardev-remove", Object::new().with("id", "a")) {
        Err(ClientError::Command(error)) => assert!(error.desc.starts_with("no ChardevRemove")),
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(client.next_event().expect("an event").name, "STOP");
}

#[test]
fn a_server_that_leaves() {
    let mut client = Client::connect(Server::new()).expect("a greeting");
    client.stream_mut().session.handle_disconnect();
    assert!(matches!(client.next_event(), Err(ClientError::Closed)));
}

#[test]
fn commands_with_types() {
    let mut client = Client::connect(Server::new()).expect("a greeting");
    let infos = client.query_chardev().expect("a list");
    assert_eq!(infos.len(), 1);
    assert_eq!(
        (infos[0].label.as_str(), infos[0].frontend_open),
        ("con0", true)
    );
    let backend = |text| Json::parse(text).expect("JSON");
    let pty = backend("{'type': 'pty', 'data': {}}");
    assert_eq!(
        client
            .chardev_add("p", pty.clone())
            .expect("a path")
            .as_deref(),
        Some("/dev/p")
    );
    assert_eq!(client.chardev_change("p", pty).expect("no path"), None);
    assert_eq!(client.ringbuf_read("r", 7).expect("text"), "text");
    for refused in [
        client.chardev_remove("p"),
        client.chardev_send_break("p"),
        client.ringbuf_write("r", "x"),
        client.human("info name").map(drop),
        client
            .chardev_add("q", backend("{'type': 'null', 'data': {}}"))
            .map(drop),
    ] {
        assert!(
            matches!(refused, Err(ClientError::Command(_))),
            "{refused:?}"
        );
    }
}

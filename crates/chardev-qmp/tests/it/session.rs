//! A session and its owner: order, back-pressure, events, out-of-band, clients that come and go.

use std::time::Duration;

use chardev_qapi::{Json, LazyText, Object, TextSource};
use chardev_qmp::{
    Command, EVENT_HIGH_WATER, Event, MAX_QUEUED, OUTPUT_HIGH_WATER, Session, SessionConfig,
    Version,
};

fn config() -> SessionConfig {
    SessionConfig {
        version: Version {
            major: 10,
            minor: 0,
            micro: 2,
            package: "p".to_owned(),
        },
        pretty: false,
        oob_offered: false,
        kinds: crate::kinds::KINDS.to_vec(),
    }
}

/// A session that has greeted and negotiated, with nothing left to read.
fn negotiated(config: SessionConfig) -> Session {
    let mut session = Session::new(config);
    session.handle_connect();
    send(&mut session, "{'execute':'qmp_capabilities'}");
    read(&mut session);
    session
}

fn send(session: &mut Session, text: &str) {
    assert_eq!(session.handle_bytes(text.as_bytes()), text.len());
}

fn stop() -> Event {
    Event::new("STOP", None, Duration::ZERO)
}

fn read(session: &mut Session) -> String {
    let text = String::from_utf8(session.output().to_vec()).expect("ASCII");
    session.consume_output(usize::MAX);
    text
}

#[test]
fn nothing_is_taken_before_a_client_is_there() {
    let mut session = Session::new(config());
    assert_eq!(session.handle_bytes(b"{}"), 0);
    assert!(session.output().is_empty());
}

#[test]
fn oob_is_refused_where_it_was_not_offered() {
    let mut session = Session::new(config());
    session.handle_connect();
    assert!(read(&mut session).ends_with(", \"capabilities\": []}}\r\n"));
    send(
        &mut session,
        "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}",
    );
    assert!(read(&mut session).contains("\"Capability oob not available\""));
    assert!(!session.is_negotiated());
}

#[test]
fn requests_come_one_at_a_time_and_in_order() {
    let mut session = negotiated(config());
    send(
        &mut session,
        "{'execute':'query-name','id':1}{'execute':'quit','id':2}{'execute':'no','id':3}",
    );
    let first = session.poll_request().expect("a request");
    assert_eq!(first.command, Command::QueryName);
    assert_eq!(session.poll_request(), None);
    assert_eq!(session.output(), b"");
    session.respond(first.token, Ok(Json::empty()));
    let second = session.poll_request().expect("a request");
    assert_eq!(second.command, Command::Quit);
    session.respond(first.token, Ok(Json::Null));
    session.respond(second.token, Err("not now".into()));
    let expected = "{\"return\": {}, \"id\": 1}\r\n\
        {\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\r\n\
        {\"id\": 3, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command no has not been found\"}}\r\n";
    assert_eq!(read(&mut session), expected);
}

#[test]
fn arguments_reach_the_owner() {
    let mut session = negotiated(config());
    let mut ask = |text: &str| {
        send(&mut session, text);
        let request = session.poll_request().expect("a request");
        session.respond(request.token, Err("not here".into()));
        request.command
    };
    let resize =
        "{'execute':'x-chardev-set-winsize','arguments':{'id':'a','cols':80,'rows':65535}}";
    assert_eq!(
        ask(resize),
        Command::XChardevSetWinsize {
            id: "a".to_owned(),
            cols: 80,
            rows: 65535
        }
    );
    let attach = "{'execute':'x-chardev-attach','arguments':{'id':'a','fdname':'f'}}";
    let expected = Command::XChardevAttach {
        join: Default::default(),
        id: "a".to_owned(),
        fdname: "f".to_owned(),
    };
    assert_eq!(ask(attach), expected);
    let write =
        "{'execute':'ringbuf-write','arguments':{'device':'r','data':'AAE=','format':'base64'}}";
    assert_eq!(
        ask(write),
        Command::RingbufWrite {
            device: "r".to_owned(),
            data: vec![0, 1]
        }
    );
    let stats = "{'execute':'x-query-chardev-stats'}";
    assert_eq!(ask(stats), Command::XQueryChardevStats { id: None });
}

#[test]
fn wrong_arguments_never_reach_the_owner() {
    let mut session = negotiated(config());
    let cases = [
        ("{'id':'a','cols':80}", "Parameter 'rows' is missing"),
        (
            "{'id':'a','cols':65536,'rows':1}",
            "Parameter 'cols' expects uint16_t",
        ),
        (
            "{'id':'a','cols':'1','rows':1}",
            "Parameter 'cols' expects uint64",
        ),
        (
            "{'id':'a','cols':1,'rows':1,'x':0}",
            "Parameter 'x' is unexpected",
        ),
    ];
    for (arguments, error) in cases {
        send(
            &mut session,
            &format!("{{'execute':'x-chardev-set-winsize','arguments':{arguments}}}"),
        );
        assert_eq!(session.poll_request(), None);
        assert!(read(&mut session).contains(error), "{arguments}");
    }
}

#[test]
fn the_queue_is_bounded() {
    let mut session = negotiated(config());
    let one = "{'execute':'query-name'}";
    let all = one.repeat(100);
    let mut taken = session.handle_bytes(all.as_bytes());
    // One waits to be polled, the others in the queue.
    assert_eq!(taken, (MAX_QUEUED + 1) * one.len());
    assert_eq!(session.handle_bytes(&all.as_bytes()[taken..]), 0);
    let mut answered = 0;
    while let Some(request) = session.poll_request() {
        session.respond(request.token, Ok(Json::empty()));
        answered += 1;
        taken += session.handle_bytes(&all.as_bytes()[taken..]);
    }
    assert_eq!((taken, answered), (all.len(), 100));
}

#[test]
fn large_requests_are_not_queued_up() {
    let mut session = negotiated(config());
    let large = format!("{{'execute':'query-name','id':'{}'}}", "x".repeat(1 << 20));
    let all = large.repeat(4);
    assert_eq!(session.handle_bytes(all.as_bytes()), 2 * large.len());
}

#[test]
fn a_client_that_never_reads_costs_little_memory() {
    let mut session = negotiated(config());
    let one = "{'execute':'query-version'} ]";
    while session.handle_bytes(one.as_bytes()) > 0 {}
    assert!(!session.wants_input());
    assert!(session.output().len() < OUTPUT_HIGH_WATER + 4096);
    while session.send_event(&stop()) {}
    assert!(session.output().len() < EVENT_HIGH_WATER + 4096);
    assert!(!session.send_event(&stop()));
    assert_eq!(session.dropped_events(), 2);
    session.consume_output(usize::MAX);
    assert!(session.wants_input());
    assert!(session.send_event(&stop()));
}

#[test]
fn a_slow_reader_gets_every_answer() {
    let mut session = negotiated(config());
    let one = "{'execute':'query-commands'}\n";
    let all = one.repeat(2000);
    let (mut taken, mut lines) = (0, 0);
    while taken < all.len() || !session.output().is_empty() {
        taken += session.handle_bytes(&all.as_bytes()[taken..]);
        let part = &session.output()[..session.output().len().min(1000)];
        lines += part.iter().filter(|&&b| b == b'\n').count();
        let part = part.len();
        session.consume_output(part);
    }
    assert_eq!(lines, 2000);
}

#[test]
fn events_wait_for_negotiation() {
    let mut session = Session::new(config());
    let data = Object::new().with("id", "vp").with("open", true);
    let when = Duration::new(12, 345_678_999);
    let event = Event::new("VSERPORT_CHANGE", Some(data.into()), when);
    assert!(!session.send_event(&event));
    session.handle_connect();
    assert!(!session.send_event(&event));
    let mut session = negotiated(config());
    assert!(session.send_event(&event));
    let expected = "{\"timestamp\": {\"seconds\": 12, \"microseconds\": 345678}, \
        \"event\": \"VSERPORT_CHANGE\", \"data\": {\"id\": \"vp\", \"open\": true}}\r\n";
    assert_eq!(read(&mut session), expected);
}

#[test]
fn the_next_client_starts_afresh() {
    let mut session = negotiated(config());
    send(
        &mut session,
        "{'execute':'query-name'}{'execute':'quit'}{'exec",
    );
    let request = session.poll_request().expect("a request");
    session.handle_disconnect();
    assert!(session.output().is_empty());
    session.handle_connect();
    session.respond(request.token, Ok(Json::empty()));
    assert_eq!(session.poll_request(), None);
    assert_eq!(read(&mut session).lines().count(), 1);
    send(&mut session, "{'execute':'quit'}");
    assert!(read(&mut session).contains("Expecting capabilities negotiation"));
}

#[test]
fn out_of_band_overtakes_the_queue() {
    let mut session = Session::new(SessionConfig {
        oob_offered: true,
        ..config()
    });
    session.handle_connect();
    send(
        &mut session,
        "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}",
    );
    read(&mut session);
    send(
        &mut session,
        "{'execute':'query-name'}{'exec-oob':'quit','id':1}",
    );
    assert!(read(&mut session).contains("\"The command quit does not support OOB\""));
    assert!(session.poll_request().is_some());
}

#[test]
fn pretty_is_indented_and_ends_lines_alike() {
    let mut session = negotiated(SessionConfig {
        pretty: true,
        ..config()
    });
    send(&mut session, "{'execute':'query-version'}");
    let text = read(&mut session);
    assert!(
        text.starts_with("{\r\n    \"return\": {\r\n        \"qemu\": {\r\n"),
        "{text}"
    );
    assert!(text.ends_with("\r\n}\r\n"));
}

#[test]
fn query_commands_lists_the_table() {
    let mut session = negotiated(config());
    send(&mut session, "{'execute':'query-commands'}");
    let answer = Json::parse(&read(&mut session)).expect("JSON");
    let listed = answer
        .get("return")
        .and_then(Json::as_array)
        .expect("a list");
    let listed: Vec<_> = listed
        .iter()
        .filter_map(|entry| entry.get("name")?.as_str())
        .collect();
    assert_eq!(listed, chardev_qmp::command_names().collect::<Vec<_>>());
    assert!(listed.contains(&"chardev-change"));
}

/// Three pieces of text, the first of them larger than what is made ahead.
struct Pieces(u8);

impl TextSource for Pieces {
    fn next_piece(&mut self, out: &mut String) -> bool {
        let size = if self.0 == 0 { 40_000 } else { 10 };
        self.0 += 1;
        out.push_str(&"\u{0}".repeat(size));
        self.0 < 3
    }
}

#[test]
fn a_text_made_as_it_is_sent_is_whole_and_what_follows_waits() {
    for pretty in [false, true] {
        let mut session = negotiated(SessionConfig { pretty, ..config() });
        let read_ring = "{'execute':'ringbuf-read','id':1,'arguments':{'device':'r','size':9}}";
        send(&mut session, read_ring);
        let request = session.poll_request().unwrap();
        session.respond(request.token, Ok(LazyText::new(Pieces(0)).into()));
        let event = Event::new("STOP", None, Duration::ZERO);
        assert!(session.send_event(&event));
        assert!(!session.wants_input(), "its answer is not made yet");
        let mut text = String::new();
        while !session.output().is_empty() {
            text += &read(&mut session);
        }
        let content = "\\u0000".repeat(40_020);
        let answer = match pretty {
            false => format!("{{\"return\": \"{content}\", \"id\": 1}}\r\n"),
            true => format!("{{\r\n    \"return\": \"{content}\",\r\n    \"id\": 1\r\n}}\r\n"),
        };
        assert!(text.starts_with(&answer), "{}", &text[text.len() - 200..]);
        assert!(text[answer.len()..].contains("\"STOP\""));
        assert!(session.wants_input());
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_text_leaves_nothing_behind() {
    let mut session = negotiated(config());
    let read_ring = "{'execute':'ringbuf-read','arguments':{'device':'r','size':9}}";
    send(&mut session, read_ring);
    let request = session.poll_request().unwrap();
    session.respond(request.token, Ok(LazyText::new(Pieces(0)).into()));
    session.consume_output(10);
    session.handle_connect();
    assert!(read(&mut session).starts_with("{\"QMP\""));
}

//! RFC 2217 without I/O: both sides, and what a peer may say that no client of ours does.

use std::io::{IoSlice, IoSliceMut};

use chardev_core::{
    Answer, Answers, BackendEvent, Event, FlowControl, Line, ModemLines, Parity, Purge,
    SerialParams, SerialRequest, Stack,
};

use super::client::Client;
use super::server::Server;
use crate::back::layers::talk::{settle, wire};
use crate::back::layers::telnet::{COM_PORT, IAC};

const WILL: u8 = 251;
const DO: u8 = 253;
const DONT: u8 = 254;
const SB: u8 = 250;
const SE: u8 = 240;

const FAST: SerialParams = SerialParams {
    speed: 0x00ff_ff80,
    parity: Parity::Even,
    data_bits: 7,
    stop_bits: 2,
};

fn read(stack: &mut Stack) -> Vec<u8> {
    let mut buf = [0; 4096];
    let count = stack.read(&mut [IoSliceMut::new(&mut buf)]);
    buf[..count].to_vec()
}

fn events(stack: &mut Stack) -> Vec<BackendEvent> {
    std::iter::from_fn(|| stack.poll_event()).collect()
}

/// A server whose client has said that it speaks of the line, and has been told of its state.
fn server() -> Stack {
    let mut server = Stack::new(vec![Box::new(Server::new())]);
    server.receive(&[IAC, WILL, COM_PORT]);
    let said = wire(&mut server);
    assert!(said.ends_with(&sub(&[107, 0xb0])), "{said:?}");
    server
}

/// Both, who have agreed.
fn pair() -> (Stack, Stack) {
    let mut server = Stack::new(vec![Box::new(Server::new())]);
    let mut client = Stack::new(vec![Box::new(Client::new())]);
    assert!(!client.is_open());
    settle(&mut server, &mut client, 2000);
    assert!(client.is_open());
    assert_eq!((events(&mut server), events(&mut client)), (vec![], vec![]));
    (server, client)
}

fn sub(said: &[u8]) -> Vec<u8> {
    let mut all = vec![IAC, SB, COM_PORT];
    for byte in said {
        all.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == IAC)));
    }
    all.extend([IAC, SE]);
    all
}

/// What `stack` says when it hears `said` of the option.
fn answer(stack: &mut Stack, said: &[u8]) -> Vec<u8> {
    stack.receive(&sub(said));
    wire(stack)
}

fn watched() -> Line {
    Line {
        serial_watched: true,
        modem_watched: true,
        ..Line::default()
    }
}

fn asked(stack: &mut Stack) -> SerialRequest {
    match events(stack)[..] {
        [BackendEvent::Tell(Event::SerialAsked(request))] => request,
        ref other => panic!("{other:?}"),
    }
}

fn apply(stack: &mut Stack, line: &Line) -> Answers {
    let mut answers = Answers::unsupported(line, true);
    stack.apply(line, &mut answers);
    answers
}

#[test]
fn what_is_set_is_granted_where_no_other_line_is_set_up() {
    let mut server = server();
    for (said, told) in [
        (&[1, 0, 0, 0, 0][..], &[101, 0, 1, 0xc2, 0][..]),
        (&[1, 0, 0xff, 0xff, 0x80], &[101, 0, 0xff, 0xff, 0x80]),
        (&[1, 0, 0, 0, 0], &[101, 0, 0xff, 0xff, 0x80]),
        (&[2, 7], &[102, 7]),
        (&[2, 9], &[102, 7]),
        (&[2, 0], &[102, 7]),
        (&[3, 3], &[103, 3]),
        (&[3, 4], &[103, 4]),
        (&[3, 5], &[103, 5]),
        (&[3, 6], &[103, 5]),
        (&[4, 2], &[104, 2]),
        (&[4, 3], &[104, 2]),
        (&[5, 3], &[105, 3]),
        (&[5, 0], &[105, 3]),
        (&[5, 13], &[105, 16]),
        (&[5, 4], &[105, 6]),
        (&[5, 7], &[105, 8]),
        (&[5, 9], &[105, 9]),
        (&[5, 7], &[105, 9]),
        (&[5, 10], &[105, 11]),
        (&[5, 12], &[105, 12]),
        (&[5, 10], &[105, 12]),
        (&[10, 16], &[110, 16]),
        (&[12, 3], &[112, 3]),
        (&[6], &[106, 0x60]),
        (&[7], &[107, 0xb0]),
    ] {
        assert_eq!(answer(&mut server, said), sub(told), "{said:?}");
    }
    let masked = [sub(&[111, 0x10]), sub(&[107, 0x10])].concat();
    assert_eq!(answer(&mut server, &[11, 0x10]), masked);
    assert!(answer(&mut server, &[0]).len() > 10, "it has a signature");
    for nonsense in [
        &[1, 2][..],
        &[2],
        &[3, 1, 1],
        &[12, 9],
        &[0, 1],
        &[99, 1],
        &[255, 1],
    ] {
        assert_eq!(answer(&mut server, nonsense), [], "{nonsense:?}");
    }
    assert_eq!(events(&mut server), []);
}

#[test]
fn a_client_is_told_what_the_line_has_really_become() {
    let mut server = server();
    apply(&mut server, &watched());
    assert_eq!(answer(&mut server, &[1, 0, 0, 0x96, 0]), []);
    assert_eq!(answer(&mut server, &[2, 7]), []);
    let request = asked(&mut server);
    assert_eq!((request.params.speed, request.params.data_bits), (38400, 7));
    // Something else has changed, or an older request was answered.
    apply(&mut server, &watched());
    let older = SerialRequest {
        number: request.number - 1,
        ..request
    };
    let line = |answer| Line {
        serial_answer: Some(answer),
        ..watched()
    };
    apply(&mut server, &line(older));
    assert_eq!(wire(&mut server), []);
    let mut became = request;
    became.params.speed = 9600;
    apply(&mut server, &line(became));
    let told = [sub(&[101, 0, 0, 0x25, 0x80]), sub(&[102, 7])].concat();
    assert_eq!(wire(&mut server), told);
    apply(&mut server, &line(became));
    assert_eq!(wire(&mut server), [], "told once");
    assert_eq!(answer(&mut server, &[3, 2]), []);
    let params = asked(&mut server).params;
    assert_eq!((params.speed, params.parity), (9600, Parity::Odd));
    // Whoever would answer is gone.
    apply(&mut server, &Line::default());
    assert_eq!(wire(&mut server), sub(&[103, 2]));
}

#[test]
fn a_purge_is_asked_of_the_other_line_and_answered_when_it_is_done() {
    let mut server = server();
    apply(&mut server, &watched());
    server.receive(&[b"typed".as_slice(), &sub(&[12, 2])].concat());
    assert_eq!(
        (read(&mut server), wire(&mut server)),
        (b"typed".to_vec(), vec![])
    );
    assert_eq!(answer(&mut server, &[12, 1]), []);
    let [BackendEvent::Tell(Event::PurgeAsked(request))] = events(&mut server)[..] else {
        panic!("both are one request");
    };
    assert_eq!(request.which, Purge::INPUT | Purge::OUTPUT);
    let done = |purged| Line {
        purged,
        ..watched()
    };
    apply(&mut server, &done(request.number - 1));
    assert_eq!(wire(&mut server), []);
    apply(&mut server, &done(request.number));
    let told = [sub(&[112, 2]), sub(&[112, 1])].concat();
    assert_eq!(wire(&mut server), told);
    assert_eq!(answer(&mut server, &[12, 3]), []);
    // Whoever would carry it out is gone.
    apply(&mut server, &Line::default());
    assert_eq!(wire(&mut server), sub(&[112, 3]));
}

#[test]
fn a_purge_reaches_the_other_side_and_its_answer_comes_back() {
    let (mut server, mut client) = pair();
    apply(&mut server, &watched());
    assert_eq!(client.purge(Purge::OUTPUT), Answer::Pending);
    assert_eq!(client.purge(Purge::INPUT), Answer::Pending);
    server.send(&[IoSlice::new(b"stale")]);
    settle(&mut server, &mut client, 2000);
    let [BackendEvent::Tell(Event::PurgeAsked(request))] = events(&mut server)[..] else {
        panic!("both are one request");
    };
    let line = Line {
        purged: request.number,
        ..watched()
    };
    apply(&mut server, &line);
    settle(&mut server, &mut client, 2000);
    assert_eq!(
        (events(&mut client), read(&mut client)),
        (vec![], b"stale".to_vec())
    );
    let purged = BackendEvent::Purged {
        input: 0,
        output: 0,
    };
    assert_eq!(events(&mut client), [purged]);
    assert_eq!(server.purge(Purge::INPUT), Answer::Unsupported);
}

#[test]
fn each_of_many_requests_is_answered_and_they_have_a_bound() {
    let mut server = server();
    apply(&mut server, &watched());
    for _ in 0..100_000 {
        server.receive(&sub(&[2, 8]));
    }
    let request = asked(&mut server);
    let line = Line {
        serial_answer: Some(request),
        ..watched()
    };
    apply(&mut server, &line);
    assert_eq!(wire(&mut server), sub(&[102, 8]).repeat(256));
}

#[test]
fn a_line_is_set_up_at_the_other_side_and_answered_when_it_is() {
    let (mut server, mut client) = pair();
    apply(&mut server, &watched());
    let line = Line {
        serial: Some(FAST),
        flow: Some(FlowControl::RtsCts),
        modem: Some(ModemLines::DTR),
        ..Line::default()
    };
    let answers = apply(&mut client, &line);
    assert_eq!(
        (answers.serial, answers.modem),
        (Answer::Pending, Answer::Done)
    );
    settle(&mut server, &mut client, 2000);
    assert_eq!(events(&mut client), []);
    let told = events(&mut server);
    let inputs = ModemLines::DSR | ModemLines::CAR;
    let is_end = |event: &BackendEvent| matches!(event, BackendEvent::Tell(Event::Modem(change)) if change.inputs == inputs);
    assert!(told.iter().any(is_end), "{told:?}");
    let request = told.iter().find_map(|event| match event {
        BackendEvent::Tell(Event::SerialAsked(request)) => Some(*request),
        _ => None,
    });
    let request = request.unwrap();
    assert_eq!((request.params, request.flow), (FAST, FlowControl::RtsCts));
    answer_with(&mut server, request);
    settle(&mut server, &mut client, 2000);
    assert_eq!(line_answered(&mut client), Answer::Done);
    assert_eq!(apply(&mut client, &line).serial, Answer::Done);
    assert_eq!(wire(&mut client), [], "it is so already");
    // The answers to what is not wanted any more do not count.
    let other = Line {
        serial: Some(SerialParams { speed: 1, ..FAST }),
        ..line.clone()
    };
    apply(&mut client, &other);
    apply(&mut client, &line);
    settle(&mut server, &mut client, 2000);
    let mut became = asked(&mut server);
    assert_eq!(became.params, FAST);
    became.params.speed = 9600;
    answer_with(&mut server, became);
    settle(&mut server, &mut client, 2000);
    assert_eq!(line_answered(&mut client), Answer::Failed);
    assert_eq!(apply(&mut client, &line).serial, Answer::Failed);
}

fn answer_with(server: &mut Stack, answer: SerialRequest) {
    let line = Line {
        serial_answer: Some(answer),
        ..watched()
    };
    apply(server, &line);
}

fn line_answered(client: &mut Stack) -> Answer {
    match events(client)[..] {
        [BackendEvent::Tell(Event::LineAnswered(answers))] => answers.serial,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn breaks_and_modem_lines_are_seen_on_the_other_side() {
    let (mut server, mut client) = pair();
    for (from, to) in [(0, 1), (1, 0)] {
        let mut both = [&mut server, &mut client];
        let line = Line {
            break_on: true,
            ..watched()
        };
        apply(both[to], &watched());
        apply(both[from], &line);
        apply(both[from], &line);
        apply(both[from], &watched());
        let [one, other] = &mut both;
        settle(one, other, 2000);
        assert_eq!(events(both[to]), [BackendEvent::Break]);
    }
    let all = ModemLines::DSR | ModemLines::CAR | ModemLines::CTS;
    assert_eq!(client.modem_inputs(), Some(all));
    let relayed = ModemLines::CTS | ModemLines::RI;
    apply(
        &mut server,
        &Line {
            modem: Some(ModemLines::empty()),
            modem_relayed: Some(relayed),
            ..watched()
        },
    );
    settle(&mut server, &mut client, 2000);
    assert_eq!(client.modem_inputs(), Some(relayed));
    apply(
        &mut server,
        &Line {
            modem: Some(ModemLines::DTR),
            ..watched()
        },
    );
    settle(&mut server, &mut client, 2000);
    assert_eq!(
        client.modem_inputs(),
        Some(ModemLines::DSR | ModemLines::CAR)
    );
    let told = events(&mut client);
    assert_eq!(told.len(), 1, "changes in a row are one: {told:?}");
    assert!(matches!(told[0], BackendEvent::Tell(Event::Modem(_))));
}

#[test]
fn who_is_told_to_wait_sends_nothing_until_it_may() {
    let (mut server, mut client) = pair();
    for (stack, other) in [(&mut server, 0), (&mut client, 100)] {
        stack.receive(&sub(&[other + 8]));
        assert_eq!((stack.room(), stack.waits_for_peer()), (0, true));
        stack.receive(&sub(&[other + 9]));
        assert_eq!(stack.send(&[IoSlice::new(b"\xff.")]), 2);
        assert_eq!(wire(stack), b"\xff\xff.");
    }
    client.receive(b"in\xff\xffput");
    assert_eq!(read(&mut client), b"in\xffput");
}

#[test]
fn a_server_that_refuses_is_none() {
    let mut client = Stack::new(vec![Box::new(Client::new())]);
    client.receive(&[IAC, DO, 0, IAC, DONT, COM_PORT]);
    assert!(client.failure().is_some() && !client.is_open());
}

#[test]
fn a_line_that_changes_without_end_has_a_bound_and_the_last_of_it_is_said() {
    let (mut server, mut client) = pair();
    let line = |speed| Line {
        serial: Some(SerialParams { speed, ..FAST }),
        ..Line::default()
    };
    for speed in 1..100_000 {
        assert_eq!(apply(&mut client, &line(speed)).serial, Answer::Pending);
    }
    let waiting: usize = client.wire().iter().map(|part| part.len()).sum();
    assert!(waiting < 400 << 10, "{waiting} bytes");
    apply(&mut server, &watched());
    settle_at_last(&mut server, &mut client);
    assert_eq!(asked(&mut server).params.speed, 99_999);
}

/// As [`settle`], however much it is.
fn settle_at_last(server: &mut Stack, client: &mut Stack) {
    while client.has_wire() {
        let said = wire(client);
        server.receive(&said);
        wire(server);
    }
}

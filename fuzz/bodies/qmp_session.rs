//! What must hold for a QMP session whatever a client sends.

use std::time::Duration;

use chardev_qapi::spec::KindSpec;
use chardev_qmp::{Event, Session, SessionConfig, Version};

/// The first byte says how input is cut and which options are on; the rest is the input.
pub(crate) fn run(data: &[u8], kinds: &[&'static KindSpec]) {
    let Some((&head, input)) = data.split_first() else {
        return;
    };
    let mut session = Session::new(SessionConfig {
        version: Version {
            major: 10,
            minor: 0,
            micro: 0,
            package: String::new(),
        },
        pretty: head & 1 != 0,
        oob_offered: head & 2 != 0,
        kinds: kinds.to_vec(),
    });
    session.handle_connect();
    if head & 4 != 0 {
        offer(&mut session, b"{'execute':'qmp_capabilities'}");
    }
    for chunk in input.chunks(1 + usize::from(head >> 3)) {
        offer(&mut session, chunk);
        session.send_event(&Event::new("STOP", None, Duration::ZERO));
    }
    // Whatever came before, a bad byte and a newline are a fresh start.
    offer(&mut session, b"\xff\n");
    serve(&mut session);
    session.consume_output(usize::MAX);
    offer(&mut session, b"{'execute':'nosuch','id':'probe'}");
    let answer = serve(&mut session);
    assert!(answer.contains("\"probe\""), "no answer after {data:?}");
}

/// Sends all of `bytes`, reading and answering whenever the session wants that first.
fn offer(session: &mut Session, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let used = session.handle_bytes(rest);
        rest = &rest[used..];
        if used == 0 {
            serve(session);
            assert!(
                session.wants_input(),
                "a session that was served takes input"
            );
        }
    }
}

/// Answers every request and checks and returns all output.
fn serve(session: &mut Session) -> String {
    let mut all = String::new();
    loop {
        let request = session.poll_request();
        let idle = request.is_none() && session.output().is_empty();
        if let Some(request) = request {
            session.respond(request.token, Err("not in this test".into()));
        }
        let text = std::str::from_utf8(session.output()).expect("output is text");
        assert!(text.is_ascii() && (text.is_empty() || text.ends_with("\r\n")));
        all.push_str(text);
        session.consume_output(usize::MAX);
        if idle {
            return all;
        }
    }
}

//! Replays what clients asked a real QEMU, and what it answered.
//!
//! The scripts read: `*` connects, `>` sends, `<` is a line of the answer, `# ` says what for. The
//! answer after `>!` comes from the owner of the session: the test gives the words, the session has
//! to ask for them and to wrap them. `\xNN` stands for a byte.

use chardev_qapi::{ErrorClass, Json, QmpError};
use chardev_qmp::{Session, SessionConfig, Version};

const SCRIPT: &str = include_str!("scripts/qemu.script");

/// One step of a script.
struct Step {
    line: usize,
    input: Option<Vec<u8>>,
    owner_answers: bool,
    answers: Vec<String>,
}

#[test]
fn answers_as_qemu_does() {
    let mut session = session();
    for step in steps() {
        replay(&mut session, &step, usize::MAX);
    }
}

#[test]
fn it_does_not_matter_where_input_is_cut() {
    for size in [1, 2, 3, 7] {
        let mut session = session();
        for step in steps() {
            replay(&mut session, &step, size);
        }
    }
}

fn replay(session: &mut Session, step: &Step, size: usize) {
    match &step.input {
        None => session.handle_connect(),
        Some(input) => {
            for chunk in input.chunks(size.min(input.len())) {
                assert_eq!(
                    session.handle_bytes(chunk),
                    chunk.len(),
                    "line {}",
                    step.line
                );
            }
        }
    }
    if let Some(request) = session.poll_request() {
        assert!(
            step.owner_answers,
            "line {}: unexpected {:?}",
            step.line, request.command
        );
        session.respond(request.token, owner_answer(&step.answers[0]));
    } else {
        assert!(
            !step.owner_answers,
            "line {}: the owner was not asked",
            step.line
        );
    }
    let text = String::from_utf8(session.output().to_vec()).expect("answers are ASCII");
    session.consume_output(usize::MAX);
    let expected: String = step
        .answers
        .iter()
        .map(|line| format!("{line}\r\n"))
        .collect();
    assert_eq!(text, expected, "line {}", step.line);
}

/// What the owner of the session says, taken from the answer expected in the end.
fn owner_answer(line: &str) -> Result<Json, QmpError> {
    let answer = Json::parse(line).expect("answers are JSON");
    if let Some(value) = answer.get("return") {
        return Ok(value.clone());
    }
    let text = |name| {
        answer
            .get("error")
            .and_then(|error| error.get(name))
            .and_then(Json::as_str)
    };
    let class = ErrorClass::from_wire(text("class").expect("a class"));
    Err(QmpError::new(class, text("desc").expect("a description")))
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in SCRIPT.lines().enumerate() {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut begin = |input, owner_answers| {
            steps.push(Step {
                line: index + 1,
                input,
                owner_answers,
                answers: Vec::new(),
            });
        };
        match mark {
            "#" | "" => {}
            "*" => begin(None, false),
            ">" => begin(Some(bytes(rest)), false),
            ">!" => begin(Some(bytes(rest)), true),
            "<" => steps
                .last_mut()
                .expect("a step first")
                .answers
                .push(rest.to_owned()),
            _ => panic!("line {}: unknown mark {mark}", index + 1),
        }
    }
    steps
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        match rest
            .get(at + 2..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[at + 4..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn session() -> Session {
    Session::new(SessionConfig {
        version: Version {
            major: 10,
            minor: 0,
            micro: 2,
            package: String::new(),
        },
        pretty: false,
        oob_offered: true,
        kinds: crate::kinds::KINDS.to_vec(),
    })
}

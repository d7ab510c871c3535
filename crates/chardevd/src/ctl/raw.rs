//! `chardevctl qmp`: one command, or QMP as it is.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use chardev_qapi::parser::Parser;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::ClientError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::commands::{print, print_bytes};
use super::connect::{Stream, Target};
use super::failure::{Failure, Status};
use super::waiting::timespec;

/// Runs `command` and prints what it returns.
pub(super) fn one(target: &Target, command: &str, arguments: Option<&str>) -> Result<(), Failure> {
    let arguments = match arguments.map(Json::parse).transpose() {
        Ok(None) => Object::new(),
        Ok(Some(Json::Object(arguments))) => arguments,
        Ok(Some(other)) => {
            let text = format!("the arguments of {command} must be a JSON object, not {other}");
            return Err(Failure::new(Status::Usage, text));
        }
        Err(error) => {
            let text = format!(
                "the arguments of {command}: {error}\ngive a JSON object, such as '{{\"id\": \"con0\"}}'"
            );
            return Err(Failure::new(Status::Usage, text));
        }
    };
    let answer = target.connect()?.execute(command, arguments);
    let answer = answer.map_err(|error| target.failed(&error))?;
    print(&format!("{}\n", answer.to_pretty_string()))
}

/// Passes standard input to the monitor and its answers to standard output, byte for byte, the
/// greeting and the negotiation included. After the end of standard input it waits until as many
/// answers came as there were commands.
pub(super) fn all(target: &Target) -> Result<(), Failure> {
    let mut stream = target.open()?;
    let lost = |error: &std::io::Error| Failure::of_connection(&target.address, error);
    let (mut asked, mut answered) = (Parser::new(), Parser::new());
    let (mut open, mut waiting) = (true, 0_i64);
    let mut buffer = [0; 16 << 10];
    // Of a session only the beginning and the end wait for the daemon; between them, for the user.
    let mut greeted = false;
    while open || waiting > 0 {
        let owes = !greeted || !open;
        let readable = wait(&stream, open, owes).map_err(|error| lost(&error))?;
        if readable[0] {
            let count = stream.read(&mut buffer).map_err(|error| lost(&error))?;
            if count == 0 {
                return Err(target.failed(&ClientError::Closed));
            }
            greeted = true;
            if !print_bytes(&buffer[..count])? {
                return Ok(());
            }
            waiting -= messages(&mut answered, &buffer[..count], |value| {
                value.get("return").is_some() || value.get("error").is_some()
            });
        }
        if readable[1] {
            let count = rustix::io::read(std::io::stdin(), &mut buffer)
                .map_err(|error| format!("standard input: {error}"))?;
            open = count > 0;
            // The last message may lack the line end that completes it.
            let sent: &[u8] = if open { &buffer[..count] } else { b"\n" };
            stream.restart_clock();
            stream.write_all(sent).map_err(|error| lost(&error))?;
            waiting += messages(&mut asked, sent, |_| true);
        }
    }
    Ok(())
}

/// Waits until the monitor or standard input has something; `owes` says that the monitor is waited
/// for, which is spoken of and has an end.
fn wait(stream: &Stream, open: bool, owes: bool) -> std::io::Result<[bool; 2]> {
    let stdin = std::io::stdin();
    let input = stdin.as_fd();
    let mut fds = [
        PollFd::new(stream, PollFlags::IN),
        PollFd::new(&input, PollFlags::IN),
    ];
    let watched = if open { 2 } else { 1 };
    let timeout = owes.then(|| stream.look_again_in()).flatten();
    match poll(&mut fds[..watched], timeout.map(timespec).as_ref()) {
        Ok(0) if owes => stream.look_at_the_clock()?,
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok([
        !fds[0].revents().is_empty(),
        open && !fds[1].revents().is_empty(),
    ])
}

/// How many messages end in `bytes` that count; one that does not parse is answered too.
fn messages(parser: &mut Parser, mut bytes: &[u8], counts: impl Fn(&Json) -> bool) -> i64 {
    let mut count = 0;
    while !bytes.is_empty() {
        let (used, message) = parser.feed(bytes);
        bytes = &bytes[used..];
        let Some(message) = message else {
            break;
        };
        count += i64::from(message.value.as_ref().map_or(true, &counts));
    }
    count
}

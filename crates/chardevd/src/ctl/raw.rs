//! `chardevctl qmp`: one command, or QMP as it is.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use chardev_qapi::parser::Parser;
use chardev_qapi::{Json, Object};
use rustix::event::{PollFd, PollFlags, poll};

use super::commands::{explain, print};
use super::connect::{Address, Stream, connect};

/// Runs `command` and prints what it returns.
pub(super) fn one(address: &Address, command: &str, arguments: Option<&str>) -> Result<(), String> {
    let arguments = match arguments.map(Json::parse).transpose()? {
        None => Object::new(),
        Some(Json::Object(arguments)) => arguments,
        Some(other) => return Err(format!("the arguments must be a JSON object, not {other}")),
    };
    let answer = connect(address)?
        .execute(command, arguments)
        .map_err(explain)?;
    print(&format!("{}\n", answer.to_pretty_string()))
}

/// Passes standard input to the monitor and its answers to standard output, byte for byte, the
/// greeting and the negotiation included. After the end of standard input it waits until as many
/// answers came as there were commands.
pub(super) fn all(address: &Address) -> Result<(), String> {
    let mut stream = Stream::open(address)?;
    let stdin = std::io::stdin();
    let (mut asked, mut answered) = (Parser::new(), Parser::new());
    let (mut open, mut waiting) = (true, 0_i64);
    let mut buffer = [0; 16 << 10];
    while open || waiting > 0 {
        let readable = {
            let input = stdin.as_fd();
            let mut fds = [
                PollFd::new(&stream, PollFlags::IN),
                PollFd::new(&input, PollFlags::IN),
            ];
            let watched = if open { 2 } else { 1 };
            match poll(&mut fds[..watched], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(format!("poll: {error}")),
            }
            [
                !fds[0].revents().is_empty(),
                open && !fds[1].revents().is_empty(),
            ]
        };
        if readable[0] {
            let count = stream
                .read(&mut buffer)
                .map_err(|error| format!("{address}: {error}"))?;
            if count == 0 {
                return Err(format!("{address}: the server closed the connection"));
            }
            print(&String::from_utf8_lossy(&buffer[..count]))?;
            waiting -= messages(&mut answered, &buffer[..count], |value| {
                value.get("return").is_some() || value.get("error").is_some()
            });
        }
        if readable[1] {
            let count = rustix::io::read(&stdin, &mut buffer)
                .map_err(|error| format!("standard input: {error}"))?;
            open = count > 0;
            // The last message may lack the line end that completes it.
            let sent: &[u8] = if open { &buffer[..count] } else { b"\n" };
            stream
                .write_all(sent)
                .map_err(|error| format!("{address}: {error}"))?;
            waiting += messages(&mut asked, sent, |_| true);
        }
    }
    Ok(())
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

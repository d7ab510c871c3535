//! The parts that touch nothing, one piece of work each. What a piece of work needs is made before
//! the first is done, so that twice as many cost twice the instructions, but for that.

use std::hint::black_box;
use std::io::{IoSlice, IoSliceMut};

use chardev::back::{self, LayerKind};
use chardev::spec::{OptionValue, Options};
use chardev_core::Stack;
use chardev_qapi::{Json, parse_backend, parse_chardev};
use chardev_screen::{Screen, Size};

type Work = fn(u64);

/// A block that goes through a layer or to a screen.
const BLOCK: usize = 64 << 10;

/// Each by its name.
pub(crate) const ALL: [(&str, Work); 11] = [
    ("json-parse: a request of 180 bytes", json_parse),
    ("json-write: a list of 20 chardevs", json_write),
    ("parse-line: a -chardev socket", parse_line),
    ("parse-backend: a socket in QMP", backend),
    ("telnet-out: 64 KiB", |count| output(telnet(), count)),
    ("telnet-in: 64 KiB", |count| {
        input(telnet(), &block(), count)
    }),
    ("rfc2217-in: 1,000 settings of the line", line_settings),
    ("websocket-out: 64 KiB", |count| output(websocket(), count)),
    ("websocket-in: 64 KiB", |count| {
        input(websocket(), &frame(), count)
    }),
    ("screen: 64 KiB of a log", |count| screen(&block(), count)),
    ("screen: 64 KiB of colours and moves", |count| {
        screen(&painted(), count)
    }),
];

const REQUEST: &str = "{\"execute\": \"chardev-change\", \"id\": 17, \"arguments\": {\"id\": \"con0\", \
    \"backend\": {\"type\": \"socket\", \"data\": {\"addr\": {\"type\": \"unix\", \"data\": {\"path\": \
    \"/run/con0\"}}, \"server\": true, \"wait\": false}}}}";
const LINE: &str = "socket,id=con0,host=127.0.0.1,port=4555,server=on,wait=off,nodelay=on,\
    logfile=/var/log/con0.log,logappend=on";
/// A client of a websocket, as a browser greets.
const GREETING: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn json_parse(count: u64) {
    for _ in 0..count {
        black_box(Json::parse(black_box(REQUEST)).expect("it is JSON"));
    }
}

fn json_write(count: u64) {
    let one = "{\"label\": \"con0\", \"filename\": \"unix:/run/con0,server=on\", \
        \"frontend-open\": true}";
    let list = format!("[{}]", [one; 20].join(", "));
    let list = Json::parse(&list).expect("it is JSON");
    for _ in 0..count {
        black_box(black_box(&list).to_string());
    }
}

fn parse_line(count: u64) {
    let kinds = back::specs();
    for _ in 0..count {
        black_box(parse_chardev(black_box(LINE), &kinds).expect("it is right"));
    }
}

fn backend(count: u64) {
    let kinds = back::specs();
    let request = Json::parse(REQUEST).expect("it is JSON");
    let backend = request.get("arguments").and_then(|all| all.get("backend"));
    let backend = backend.expect("it is in there");
    for _ in 0..count {
        black_box(parse_backend(black_box(backend), "backend", &kinds).expect("it is right"));
    }
}

fn telnet() -> Stack {
    let options = Options::new("socket").with("telnet", OptionValue::Bool(true));
    greeted(back::telnet(&options).expect("it is known"), b"")
}

fn websocket() -> Stack {
    let options = Options::new("socket").with("websocket", OptionValue::Bool(true));
    let kind = back::websocket(&options).expect("it is known");
    greeted(kind.expect("the option asks for it"), GREETING)
}

/// A layer whose peer has said what it has to say first.
fn greeted(kind: LayerKind, greeting: &[u8]) -> Stack {
    let mut stack = Stack::new(vec![kind.make()]);
    stack.receive(greeting);
    stack.sent(usize::MAX);
    stack
}

fn output(mut stack: Stack, count: u64) {
    let block = block();
    for _ in 0..count {
        let mut rest = &block[..];
        while !rest.is_empty() {
            let taken = stack.send(&[IoSlice::new(black_box(rest))]);
            assert!(taken > 0, "the wire is empty");
            rest = &rest[taken..];
            black_box(stack.wire());
            stack.sent(usize::MAX);
        }
    }
}

fn input(mut stack: Stack, block: &[u8], count: u64) {
    let mut buf = vec![0; 2 * BLOCK];
    for _ in 0..count {
        stack.receive(black_box(block));
        let mut all = 0;
        loop {
            match stack.read(&mut [IoSliceMut::new(&mut buf)]) {
                0 if stack.poll_event().is_none() => break,
                count => all += count,
            }
        }
        assert_eq!(all, BLOCK, "all of it comes out");
        stack.sent(usize::MAX);
    }
}

fn line_settings(count: u64) {
    let options = Options::new("socket").with("x-rfc2217", OptionValue::Bool(true));
    let mut stack = greeted(
        back::rfc2217(&options).expect("the option asks for it"),
        b"",
    );
    // Each asks for 9600 bits per second.
    let asked = b"\xff\xfa\x2c\x01\0\0\x25\x80\xff\xf0".repeat(10);
    for _ in 0..count {
        for _ in 0..100 {
            stack.receive(black_box(&asked));
            while stack.poll_event().is_some() {}
            stack.sent(usize::MAX);
        }
    }
}

fn screen(block: &[u8], count: u64) {
    let mut screen = Screen::new(Size::DEFAULT);
    for _ in 0..count {
        screen.feed_all(black_box(block));
        black_box(screen.take_answers());
    }
}

/// Lines such as a system prints.
fn block() -> Vec<u8> {
    let lines =
        (0..).flat_map(|at| format!("[{at:>8}.000000] usb 1-1: a line of a log\r\n").into_bytes());
    lines.take(BLOCK).collect()
}

/// Cells of many colours, all over the screen.
fn painted() -> Vec<u8> {
    let cells = (0_u32..).flat_map(|at| {
        let (row, col, colour) = (at % 24 + 1, at * 7 % 80 + 1, at % 256);
        format!("\x1b[{row};{col}H\x1b[38;5;{colour}m*\x1b[0m").into_bytes()
    });
    cells.take(BLOCK).collect()
}

/// A block in one frame, masked as a client has to.
fn frame() -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((BLOCK as u64).to_be_bytes());
    frame.extend(mask);
    let masked = block().into_iter().zip(mask.into_iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

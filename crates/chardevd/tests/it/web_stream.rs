//! Streams of the web page: every byte once, whatever becomes of the connection, and nobody pays
//! for a page that is slow.

use chardev_qapi::Json;

use crate::ctl_rig::{text, until};
use crate::web_rig::{Page, Stream, Told};

/// What a page is sent beyond what it has shown.
const WINDOW: usize = 256 << 10;

/// A console with this program behind it, which waits for a line before it begins, and this much
/// history.
fn console(history: &str, command: &str) -> Page {
    let chardev = format!("ringbuf,id=con0,x-history={history}");
    let command = format!("stty raw -echo; echo ready; read line; {command}");
    let device = format!(
        "exec,chardev=con0,restart=off,command={}",
        command.replace(',', ",,")
    );
    let page = Page::with(&["--chardev", &chardev, "--device", &device]);
    page.daemon.expect("ready");
    page
}

fn begin(page: &Page) {
    page.daemon.succeed(&["send", "con0", "go\\n"]);
}

/// What `seq` prints.
fn numbers(upto: usize) -> Vec<u8> {
    let lines = (1..=upto).map(|number| format!("{number}\n"));
    lines.collect::<String>().into_bytes()
}

#[test]
fn a_stream_goes_on_after_fifty_lost_connections_with_every_byte_once() {
    let page = console("64M", "exec seq 1 4000000");
    let wanted = numbers(4_000_000);
    let browser = page.browser();
    begin(&page);
    let mut got = Vec::with_capacity(wanted.len());
    let mut at = "ready\n".len() as u64;
    for round in 0..50 {
        let mut stream = browser.stream("con0", &format!("from={at}"));
        assert_eq!(stream.at, at);
        // Cut where no frame ends, and with frames on their way.
        got.extend(stream.output(wanted.len() / 60 + round * 977));
        at = stream.at;
        stream.kill();
    }
    let mut stream = browser.stream("con0", &format!("from={at}"));
    got.extend(stream.output(wanted.len() - got.len()));
    assert!(got == wanted, "{} of {} bytes", got.len(), wanted.len());
}

/// How long a frame of input is here, and how much may be on its way.
const FRAME: usize = 16_000;
const AHEAD: u64 = 64 << 10;

#[test]
fn what_is_typed_goes_on_while_output_never_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let (out, go) = (dir.path().join("out"), dir.path().join("go"));
    let program = format!(
        "yes flood & while ! [ -e {} ]; do sleep 0.1; done; exec cat > {}",
        go.display(),
        out.display()
    );
    let page = console("1M", &program);
    let browser = page.browser();
    let mut stream = browser.stream("con0", "mode=share");
    begin(&page);
    stream.output(1);
    // More than the front end has room for, so that some has to wait; as much is on its way as may
    // be.
    let wanted = numbers(30_000);
    let mut frames = wanted.chunks(FRAME);
    let mut offset = 0;
    let mut type_on = |stream: &mut Stream| {
        while offset + FRAME as u64 <= stream.typed + AHEAD {
            let Some(frame) = frames.next() else { return };
            stream.type_in(offset, frame);
            offset += frame.len() as u64;
        }
    };
    // Some of it waits for so long that it is offered seldom.
    let mut shown = 0;
    while shown < 8 << 20 {
        match stream.next() {
            Told::Output(output) => shown += output.len(),
            Told::End(reason) => panic!("{reason:?} after {shown} bytes"),
            _ => {}
        }
        stream.acknowledge();
        type_on(&mut stream);
    }
    assert!(stream.typed < wanted.len() as u64);
    std::fs::write(go, "").expect("written");
    while stream.typed < wanted.len() as u64 {
        if let Told::End(reason) = stream.next() {
            panic!("{reason:?} after {} bytes", stream.typed);
        }
        stream.acknowledge();
        type_on(&mut stream);
    }
    until("all has arrived", || {
        stream.next();
        stream.acknowledge();
        std::fs::read(&out).is_ok_and(|all| all == wanted)
    });
}

#[test]
fn what_is_typed_is_typed_once_over_lost_connections() {
    let page = console("4M", "exec cat");
    let browser = page.browser();
    begin(&page);
    let wanted = numbers(100_000);
    let mut round = 0;
    loop {
        let mut stream = browser.stream("con0", "mode=share&input=key");
        let typed = stream.hello.get("typed").and_then(Json::as_u64);
        let from = usize::try_from(typed.unwrap_or(0)).expect("an offset");
        if from == wanted.len() {
            break;
        }
        round += 1;
        let rest = wanted[from..]
            .chunks(700)
            .take(if round < 30 { 9 } else { usize::MAX });
        let mut at = from as u64;
        for (number, chunk) in rest.enumerate() {
            // Said again from where it was said before, in other pieces.
            let again = (round * 13 % 300).min(at as usize);
            let begin = at as usize - again;
            stream.type_in(begin as u64, &wanted[begin..at as usize + chunk.len()]);
            at += chunk.len() as u64;
            if number == 0 {
                stream.wait_typed(at);
            }
        }
        match round < 30 {
            true => stream.kill(),
            false => stream.wait_typed(wanted.len() as u64),
        }
    }
    assert!(round >= 30, "{round}");
    let mut stream = browser.stream("con0", "from=oldest");
    let all = stream.output("ready\n".len() + wanted.len());
    assert!(all["ready\n".len()..] == wanted[..], "typed once, in order");
}

#[test]
fn a_page_that_shows_nothing_costs_its_window_and_learns_what_it_missed() {
    let page = console("1M", "seq 1 60000; read line; exec seq 60001 1000000");
    let browser = page.browser();
    let mut asleep = browser.stream("con0", "from=now");
    let mut awake = browser.stream("con0", "from=now");
    begin(&page);
    let wanted = numbers(1_000_000);
    // More than the window, and less than is kept.
    let mut got = Vec::new();
    while got.len() < WINDOW {
        match asleep.next_output() {
            Told::Output(output) => got.extend(output),
            told => panic!("{told:?} after {} bytes", got.len()),
        }
    }
    begin(&page);
    let mut seen = 0;
    // One that shows what it gets keeps up, or is told how much it has missed.
    while seen < wanted.len() {
        match awake.next_output() {
            Told::Output(output) => seen += output.len(),
            Told::Gap(from, to) => seen += (to - from) as usize,
            told => panic!("{told:?}"),
        }
        awake.acknowledge();
    }
    assert!(got == wanted[..WINDOW], "the window's content, and no more");
    assert!(!asleep.has_output());
    asleep.acknowledge();
    let end = "ready\n".len() + wanted.len();
    let Told::Gap(from, to) = asleep.next_output() else {
        panic!("a megabyte is kept, and seven were printed");
    };
    assert_eq!(from as usize, "ready\n".len() + WINDOW);
    let rest = asleep.output(end - to as usize);
    assert!(
        wanted.ends_with(&rest) && rest.len() >= 512 << 10,
        "{}",
        rest.len()
    );
}

#[test]
fn a_hundred_pages_on_a_console_are_one_read_of_it() {
    let page = console("4M", "exec seq 1 80000");
    let browser = page.browser();
    let mut streams: Vec<_> = (0..100)
        .map(|_| browser.stream("con0", "from=now"))
        .collect();
    let stats = browser.get("/consoles/con0").json();
    assert_eq!(stats.get("viewers").and_then(Json::as_u64), Some(100));
    let wanted = numbers(80_000);
    let (read, memory) = (used(&page, "io", "rchar"), used(&page, "status", "VmRSS"));
    begin(&page);
    let reader = |mut stream: crate::web_rig::Stream| {
        let wanted = wanted.clone();
        std::thread::spawn(move || assert!(stream.output(wanted.len()) == wanted))
    };
    let readers: Vec<_> = streams.drain(..).map(reader).collect();
    for reader in readers {
        reader.join().expect("every page has all of it");
    }
    let read = used(&page, "io", "rchar") - read;
    let once = wanted.len() as u64;
    assert!(
        (once..2 * once).contains(&read),
        "{read} bytes were read for {once}"
    );
    let grown = used(&page, "status", "VmRSS").saturating_sub(memory);
    assert!(grown < 40 << 10, "{grown} KiB");
    until("nobody looks at it any more", || {
        let stats = browser.get("/consoles/con0").json();
        stats.get("viewers").and_then(Json::as_u64) == Some(0)
    });
}

/// A number of a file about the daemon in /proc.
fn used(page: &Page, file: &str, name: &str) -> u64 {
    let path = format!("/proc/{}/{file}", page.daemon.child.id());
    let all = text(&std::fs::read(path).expect("the daemon runs"));
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number")
}

//! The back end `vc`: what is written to it is shown, what is typed and what a terminal answers is
//! input.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev::back::NoFds;
use chardev::backends::{Null, Pty, Ringbuf, Unix, Vc};
use chardev::screen::{Size, Snapshot};
use chardev::spec::{OptionValue, Options};
use chardev::{
    Answer, BlockingFrontEnd as _, Chardevs, Event, FrontEnd, Input, InputError, InputEvent,
    PictureFormat, ScreenError, TerminalSize,
};

use crate::common::{DEADLINE, input, wait_for};

fn console() -> (Chardevs, FrontEnd) {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Vc::new()).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, front)
}

fn shown(chardevs: &Chardevs, id: &str) -> Snapshot {
    let screen = chardevs.block_on(chardevs.screen(id, Size::DEFAULT));
    screen.unwrap().shown
}

fn press(chardevs: &Chardevs, id: Option<&str>, keys: &[&str]) -> Result<(), InputError> {
    let event = |down| {
        move |key: &&str| InputEvent::Key {
            name: (*key).to_owned(),
            down,
        }
    };
    let mut events: Vec<_> = keys.iter().map(event(true)).collect();
    events.extend(keys.iter().map(event(false)));
    chardevs.send_input(id, &events)
}

#[test]
fn what_is_written_is_shown_and_what_is_asked_is_answered() {
    let (chardevs, front) = console();
    assert!(front.is_open());
    assert_eq!(front.next_event(), Some(Event::Opened));
    let size = TerminalSize { cols: 80, rows: 24 };
    assert_eq!(front.size(), Some(size));
    assert_eq!(front.write(b"\x1b]2;a title\x07one\r\ntwo\x1b[6n"), 24);
    let screen = chardevs.block_on(chardevs.screen("con0", Size::DEFAULT));
    let screen = screen.unwrap();
    assert_eq!(screen.shown.row_text(0), "one");
    assert_eq!(screen.shown.row_text(1), "two");
    assert_eq!(screen.shown.title(), "a title");
    assert_eq!((screen.offset, screen.from_history), (24, false));
    assert_eq!(input(&front), b"\x1b[2;4R");
    assert_eq!(input(&front), b"");
    assert_eq!(front.stats().output_delivered, 24);
}

/// Whoever waits for input is woken for an answer and for a key.
#[test]
fn who_waits_for_input_is_woken() {
    let (chardevs, front) = console();
    let read = || {
        let mut buf = [0; 16];
        loop {
            match front.wait_input(&mut buf, Some(DEADLINE)).unwrap() {
                Some(Input::Data(count)) => return buf[..count].to_vec(),
                Some(Input::Event(_)) => {}
                None => panic!("nothing came"),
            }
        }
    };
    front.write_all(b"\x1b[5n", Some(DEADLINE)).unwrap();
    assert_eq!(read(), b"\x1b[0n");
    std::thread::scope(|scope| {
        scope.spawn(|| press(&chardevs, None, &["ctrl", "c"]).unwrap());
        assert_eq!(read(), b"\x03");
    });
}

#[test]
fn keys_go_to_the_console_that_is_meant() {
    let (chardevs, front) = console();
    press(&chardevs, None, &["shift", "a"]).unwrap();
    press(&chardevs, Some("con0"), &["ret"]).unwrap();
    // What was held is let go.
    press(&chardevs, None, &["b"]).unwrap();
    assert_eq!(input(&front), b"A\rb");
    // A program that wants application keys gets them.
    front.write(b"\x1b[?1h");
    press(&chardevs, None, &["up"]).unwrap();
    assert_eq!(input(&front), b"\x1bOA");

    chardevs.blocking_add("other", Vc::new()).unwrap();
    let several = InputError::Several(vec!["con0".to_owned(), "other".to_owned()]);
    assert_eq!(press(&chardevs, None, &["a"]), Err(several));
    press(&chardevs, Some("con0"), &["c"]).unwrap();
    assert_eq!(input(&front), b"c");
    let nosuch = Err(InputError::NotFound("nosuch".to_owned()));
    assert_eq!(press(&chardevs, Some("nosuch"), &["a"]), nosuch);

    // One that was replaced or removed is none any more.
    chardevs.blocking_change("other", Null::new()).unwrap();
    press(&chardevs, None, &["d"]).unwrap();
    assert_eq!(input(&front), b"d");
    chardevs.blocking_change("con0", Null::new()).unwrap();
    assert_eq!(press(&chardevs, None, &["a"]), Err(InputError::None));
}

#[test]
fn input_that_nobody_reads_has_a_limit() {
    let (chardevs, front) = console();
    for _ in 0..4096 {
        press(&chardevs, None, &["x"]).unwrap();
    }
    let full = Err(InputError::Full("con0".to_owned()));
    assert_eq!(press(&chardevs, None, &["shift", "x"]), full);
    assert_eq!(press(&chardevs, None, &["shift"]), Ok(()));
    front.write(&b"\x1b[6n".repeat(5000));
    let mut all = Vec::new();
    loop {
        match input(&front) {
            bytes if bytes.is_empty() => break,
            bytes => all.extend(bytes),
        }
    }
    assert!(all == b"x".repeat(4096));
    press(&chardevs, None, &["y"]).unwrap();
    assert_eq!(input(&front), b"y");
}

#[test]
fn what_is_typed_is_shown_if_the_front_end_wants_that() {
    let (chardevs, front) = console();
    press(&chardevs, None, &["a"]).unwrap();
    assert_eq!(shown(&chardevs, "con0").row_text(0), "");
    assert_eq!(front.set_echo(true), Answer::Done);
    press(&chardevs, None, &["b"]).unwrap();
    press(&chardevs, None, &["ret"]).unwrap();
    press(&chardevs, None, &["c"]).unwrap();
    let screen = shown(&chardevs, "con0");
    assert_eq!(
        (screen.row_text(0), screen.row_text(1)),
        ("b".into(), "c".into())
    );
    assert_eq!(input(&front), b"ab\rc");
}

/// Clearing a screen is four bytes: a great many are taken in parts, and who writes is woken.
#[test]
fn much_work_is_taken_in_parts() {
    let chardevs = Chardevs::new().unwrap();
    chardevs
        .blocking_add("con0", Vc::sized(Size::LARGEST))
        .unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let clear = b"\x1b[2J".repeat(64);
    let taken = front.write(&clear);
    assert!(taken > 0 && taken < clear.len(), "{taken}");
    let rest = [&clear[taken..], b"done"].concat();
    front.write_all(&rest, Some(DEADLINE)).unwrap();
    assert_eq!(shown(&chardevs, "con0").row_text(0), "done");
    // Many small pieces share the work, too.
    let pieces = [std::io::IoSlice::new(b"\x1b[2J"); 64];
    let taken = front.write_vectored(&pieces);
    assert!(taken > 0 && taken < clear.len(), "{taken}");
}

#[test]
fn changes_from_and_to_a_console_keep_what_they_promise() {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Ringbuf::new(4096)).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.set_echo(true), Answer::Unsupported);
    assert_eq!(front.write(b"unread "), 7);
    // What a ring held goes to the console first, and the line is set up anew.
    chardevs.blocking_change("con0", Vc::new()).unwrap();
    assert_eq!(front.write(b"output"), 6);
    assert_eq!(shown(&chardevs, "con0").row_text(0), "unread output");
    press(&chardevs, None, &["k"]).unwrap();
    assert_eq!(shown(&chardevs, "con0").row_text(0), "unread outputk");
    // What was typed before the change is read after it; the screen has gone.
    let pty = chardevs.blocking_change("con0", Pty::new()).unwrap().pty;
    let gone = chardevs.block_on(chardevs.screen("con0", Size::DEFAULT));
    assert!(matches!(gone, Err(ScreenError::NoScreen(_))), "{gone:?}");
    let mut all = Vec::new();
    let until = Instant::now() + DEADLINE;
    while all.is_empty() {
        all = input(&front);
        while front.next_event().is_some() {}
        assert!(Instant::now() < until);
    }
    assert_eq!(all, b"k");
    assert!(Path::new(&pty.unwrap()).exists());
    chardevs.blocking_change("con0", Vc::new()).unwrap();
    assert_eq!(shown(&chardevs, "con0").row_text(0), "");
    // A refused change leaves it as it is.
    front.write(b"still here");
    let bad = Options::new("vc").with("cols", OptionValue::Int(-1));
    let refused = chardevs.blocking_change("con0", bad).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("'cols' expects a number from 1 to 512")
    );
    assert_eq!(shown(&chardevs, "con0").row_text(0), "still here");
    assert_eq!(front.stats().output_discarded, 0);
    chardevs.block_on(chardevs.shut_down(Duration::from_millis(100)));
}

/// The last lines of `all`, as a screen of 24 rows shows them with the cursor in the last one.
fn last_lines(all: &[String]) -> Vec<String> {
    let mut rows = all[all.len().saturating_sub(23)..].to_vec();
    rows.resize(24, String::new());
    rows
}

/// Lines and keys with their numbers, over 200 changes between a console and other kinds: what a
/// ring held is shown, what was typed comes before what is typed later, and nothing is shown twice.
#[test]
fn two_hundred_changes_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let (chardevs, front) = console();
    let (mut lines, mut number) = (Vec::new(), 0);
    let mut write = |lines: &mut Vec<String>| {
        for _ in 0..30 {
            number += 1;
            lines.push(format!("line {number}"));
            front
                .write_all(format!("line {number}\r\n").as_bytes(), Some(DEADLINE))
                .unwrap();
        }
    };
    let (mut typed, mut read) = (Vec::new(), Vec::new());
    for round in 0..50_u32 {
        // On the console: what the ring held before, and more.
        write(&mut lines);
        let screen = shown(&chardevs, "con0");
        let rows: Vec<_> = (0..24).map(|row| screen.row_text(row)).collect();
        assert_eq!(rows, last_lines(&lines), "round {round}");
        let key = ["a", "b", "c", "d", "e"][round as usize % 5];
        press(&chardevs, Some("con0"), &[key]).unwrap();
        typed.extend_from_slice(key.as_bytes());
        // On a socket: its client gets what is written now, and what it sends comes after the key.
        chardevs
            .blocking_change("con0", Unix::listen(&path))
            .unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        assert!(front.wait_connected(Some(DEADLINE)).unwrap());
        let mut sent = Vec::new();
        write(&mut sent);
        client.write_all(b"1").unwrap();
        typed.push(b'1');
        chardevs.blocking_change("con0", Vc::new()).unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        let got: Vec<_> = got.lines().collect();
        assert_eq!(got, sent, "round {round}");
        // On a new console, whose screen begins empty, and in a ring.
        lines.clear();
        write(&mut lines);
        chardevs
            .blocking_change("con0", Ringbuf::new(1 << 16))
            .unwrap();
        lines.clear();
        write(&mut lines);
        chardevs.blocking_change("con0", Vc::new()).unwrap();
        while read.len() < typed.len() {
            let mut buf = [0; 16];
            if let Some(Input::Data(count)) = front.wait_input(&mut buf, Some(DEADLINE)).unwrap() {
                read.extend_from_slice(&buf[..count]);
            }
        }
        assert_eq!(read, typed, "round {round}");
    }
    let stats = front.stats();
    assert_eq!((stats.output_discarded, stats.output_overwritten), (0, 0));
    assert_eq!(stats.output_accepted, stats.output_delivered);
}

#[test]
fn a_multiplexer_shows_what_is_below_it() {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("base", Vc::new()).unwrap();
    let mux = |below: &str| Options::new("mux").with("chardev", OptionValue::Str(below.to_owned()));
    chardevs.blocking_add("mux", mux("base")).unwrap();
    let front = chardevs.front_end("mux", Arc::new(())).unwrap();
    front.write(b"over it");
    assert_eq!(shown(&chardevs, "mux").row_text(0), "over it");
    assert_eq!(shown(&chardevs, "base").row_text(0), "over it");
    press(&chardevs, None, &["k"]).unwrap();
    assert_eq!(
        wait_for("the key", || Some(input(&front))
            .filter(|it| !it.is_empty())),
        b"k"
    );
}

#[test]
fn any_history_has_a_screen() {
    let chardevs = Chardevs::new().unwrap();
    chardevs
        .blocking_add("con0", Null::new().history(1 << 22))
        .unwrap();
    chardevs.blocking_add("plain", Null::new()).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(shown(&chardevs, "con0").row_text(0), "");
    front.write(b"\x1b[31mred\x1b[m\r\n");
    let size = Size::new(40, 10).unwrap();
    let screen = chardevs.block_on(chardevs.screen("con0", size)).unwrap();
    assert_eq!((screen.shown.size(), screen.from_history), (size, true));
    assert_eq!((screen.offset, screen.shown.runs(0).len()), (13, 1));
    // Only the newest part is gone through, from the first whole line on.
    let line = format!("{}\r\n", "x".repeat(98));
    for _ in 0..20_000 {
        assert_eq!(front.write(line.as_bytes()), 100);
    }
    front.write(b"end");
    let screen = chardevs
        .block_on(chardevs.screen("con0", Size::DEFAULT))
        .unwrap();
    assert_eq!(screen.offset, 13 + 2_000_000 + 3);
    assert_eq!(screen.shown.row_text(23), "end");
    assert_eq!(screen.shown.row_text(22), "x".repeat(18));
    for (id, words) in [
        (
            "plain",
            "'plain' has no screen: it is no 'vc' and keeps no output, as with x-history=1M",
        ),
        ("nosuch", "Device 'nosuch' not found"),
    ] {
        let error = chardevs.block_on(chardevs.screen(id, size)).unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}

fn save(chardevs: &Chardevs, id: Option<&str>, path: &Path) -> Result<(), ScreenError> {
    let saving = chardevs.save_screen(id, path, PictureFormat::Ppm, Arc::new(NoFds));
    chardevs.block_on(saving)
}

#[test]
fn a_picture_replaces_a_file_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("picture"), dir.path().join("link"));
    let (chardevs, front) = console();
    front.write(b"text");
    save(&chardevs, None, &file).unwrap();
    let first = std::fs::read(&file).unwrap();
    assert!(first.starts_with(b"P6\n640 384\n255\n") && first.len() == 15 + 640 * 384 * 3);
    let open = std::fs::File::open(&file).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    // A link stays one. Who reads the old picture goes on reading it.
    symlink("picture", &link).unwrap();
    front.write(b" and more");
    save(&chardevs, Some("con0"), &link).unwrap();
    let second = std::fs::read(&file).unwrap();
    assert!(second != first && second.len() == first.len());
    assert!(link.is_symlink());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut old = Vec::new();
    std::io::Read::read_to_end(&mut &open, &mut old).unwrap();
    assert!(old == first);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing is left beside them"
    );

    let long = dir.path().join("x".repeat(255));
    save(&chardevs, None, &long).unwrap();
    assert!(std::fs::read(long).unwrap() == second);

    let nowhere = dir.path().join("nosuch/picture");
    let words = format!(
        "failed to open file '{}': No such file or directory",
        nowhere.display()
    );
    assert_eq!(
        save(&chardevs, None, &nowhere).unwrap_err().to_string(),
        words
    );
    let words = format!(
        "failed to open file '{}': Is a directory",
        dir.path().display()
    );
    assert_eq!(
        save(&chardevs, None, dir.path()).unwrap_err().to_string(),
        words
    );
    assert_eq!(
        save(&chardevs, Some("x"), &file).unwrap_err().to_string(),
        "Device 'x' not found"
    );
    assert_eq!(std::fs::read(&file).unwrap(), second);
    // What is no file is written to.
    save(&chardevs, None, Path::new("/dev/null")).unwrap();
    let full = save(&chardevs, None, Path::new("/dev/full")).unwrap_err();
    assert!(
        full.to_string().ends_with("No space left on device"),
        "{full}"
    );

    chardevs.blocking_change("con0", Null::new()).unwrap();
    let none = save(&chardevs, None, &file).unwrap_err();
    assert_eq!(
        none.to_string(),
        "There is no console to take a screendump from"
    );
}

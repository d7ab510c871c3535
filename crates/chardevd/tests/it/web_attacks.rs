//! What hostile clients of the web page try: to be taken for somebody else, to be taken for a
//! console, to fill the memory, and to keep everybody else waiting.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ctl_rig::text;
use crate::web_rig::{API, Browser, Page, Stream, connect};

const CAT: &str = "[console.con0]\nexec = 'stty raw -echo; exec cat'\n
    [web]\nlisten = '127.0.0.1:0'\n";

fn page(more: &str) -> (Page, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (Page::configured(dir.path(), &format!("{CAT}{more}")), dir)
}

/// Headers as they are sent.
fn lines(browser: &Browser) -> String {
    let headers = browser.headers().into_iter();
    headers
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

/// All that is answered to this, whose last request has to say that it is.
fn answer(browser: &Browser, request: &str) -> String {
    let mut client = connect(browser.address);
    client.write_all(request.as_bytes()).expect("it is asked");
    let mut answer: Vec<u8> = Vec::new();
    // A server that has refused may not have read everything, which is a reset in the end.
    let _ = client.read_to_end(&mut answer);
    text(&answer)
}

#[test]
fn what_comes_behind_a_request_of_two_lengths_is_no_request() {
    let (page, _dir) = page("proxy = '127.0.0.1'\n");
    let browser = page.stranger();
    let lines = lines(&browser);
    let user = format!("X-Remote-User: root\r\n{lines}");
    // For a proxy that goes by the length it is what a client of its own sends.
    let hidden = format!("GET {API}/me HTTP/1.1\r\n{user}Connection: close\r\n\r\n");
    let body = format!("0\r\n\r\n{hidden}");
    let length = body.len();
    for headers in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
    ] {
        let request = format!("POST {API}/login HTTP/1.1\r\n{lines}{headers}\r\n{body}");
        let said = answer(&browser, &request);
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
        assert!(!said.contains("\"who\""), "{said}");
    }
    // What the proxy itself says is one.
    let said = answer(&browser, &hidden);
    assert!(said.contains("\"who\""), "{said}");
    for refused in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
        "X-Folded: a\r\n Transfer-Encoding: chunked\r\n",
    ] {
        let request = format!("POST {API}/login HTTP/1.1\r\n{lines}{refused}\r\n{body}");
        let said = answer(&browser, &request);
        assert!(said.starts_with("HTTP/1.1 400 "), "{refused}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
}

#[test]
fn nonsense_is_refused_and_leads_nowhere() {
    let (page, _dir) = page("");
    let browser = page.browser();
    let lines = lines(&browser);
    let most = u64::MAX;
    let con0 = format!("{API}/consoles/con0");
    let paths = [
        "/..%2f..%2fetc/passwd".to_owned(),
        "//etc/passwd".to_owned(),
        "/xterm/..%2f..%2fCargo.toml".to_owned(),
        format!("{API}/consoles/..%2f..%2fetc%2fpasswd/history"),
        format!("{API}/consoles/con0%00/screen"),
        format!("{API}/consoles/%ff"),
        format!("{API}/consoles/%22%3E%3Cscript%3E"),
        format!("{API}/consoles/{}", "x".repeat(14 << 10)),
        format!("{con0}/history?from={most}"),
        format!("{con0}/history?from={most}0"),
        format!("{con0}/history?from=0&from=1"),
        format!("{con0}/screen?at={most}"),
        format!("{con0}/screen?cols=65535&rows=65535"),
        format!("{con0}/screen?at=0&cols=65535&rows=65535"),
        format!("{con0}/screen?at=0&cols=0&rows=0"),
        format!("{con0}/timeline?points=-1"),
    ];
    let gets = paths.map(|path| format!("GET {path} HTTP/1.1\r\n{lines}"));
    let places = ["x", "1e9", "+5", "0x10", "18446744073709551616", "\u{e9}"];
    let output = |place| format!("GET {con0}/output HTTP/1.1\r\n{lines}Last-Event-ID: {place}\r\n");
    let odd = [
        format!("GET http://evil.example/ HTTP/1.1\r\n{lines}"),
        format!("get / HTTP/1.1\r\n{lines}"),
        format!("TRACE / HTTP/1.1\r\n{lines}"),
        format!("CONNECT {} HTTP/1.1\r\n{lines}", browser.address),
        format!("GET / HTTP/1.1\r\n{lines}X-Null: a\0b\r\n"),
    ];
    let all = gets.into_iter().chain(places.map(output)).chain(odd);
    for request in all {
        let said = answer(&browser, &format!("{request}Connection: close\r\n\r\n"));
        assert!(said.starts_with("HTTP/1.1 4"), "{request}: {said}");
        // What is told back is no page, whatever is in it.
        let is_page = said.contains("text/html") || !said.contains("nosniff");
        let is_ours = said.contains("content-type");
        assert!(!is_ours || !is_page, "{request}: {said}");
    }
    // HTTP/2 is not spoken, so there is nothing of it to abuse.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let said = answer(&browser, preface);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    // What is long or strange and means nothing does no harm.
    for (name, value) in [
        ("Accept-Encoding", "gzip;q=0.1,".repeat(1300)),
        ("If-None-Match", "\"a\",".repeat(3500)),
        ("If-None-Match", "\u{ff}".to_owned()),
        ("Range", "bytes=0-0,1-1".to_owned()),
    ] {
        let headers = [browser.headers(), vec![(name, value)]].concat();
        let reply = browser.ask("GET", "/main.js", &headers, b"");
        assert_eq!(reply.status, 200, "{name}");
    }
    assert_eq!(browser.get("/me").status, 200);
}

#[test]
fn what_is_to_be_typed_on_no_console_is_not_remembered() {
    let (page, _dir) = page("");
    let browsers: Vec<_> = (0..16).map(|_| page.browser()).collect();
    let id = "x".repeat(14 << 10);
    let before = page.memory();
    for browser in &browsers {
        for key in 0..64 {
            let path = format!("{API}/consoles/{id}/stream?mode=share&input={key}");
            let refused = Stream::open(page.address, &path, &browser.headers()).err();
            assert_eq!(refused, Some(404));
        }
    }
    // It would be 14 MiB.
    let grown = page.memory().saturating_sub(before);
    assert!(grown < 6 << 10, "{grown} KiB");
}

/// How many messages each page says, how many pages say them, and how many the daemon may look at
/// between two requests of somebody else's.
const MESSAGES: usize = 100_000;
const TALKERS: usize = 3;
const BETWEEN: usize = 6_000;

#[test]
fn pages_that_never_fall_silent_leave_time_for_others() {
    let (page, _dir) = page("");
    let (browser, other) = (page.browser(), page.browser());
    // Shorter than what is read at a time by far.
    let messages = frame(1, b"{\"ack\": 0}").repeat(MESSAGES);
    let silent = AtomicUsize::new(0);
    let answered = std::thread::scope(|scope| {
        for _ in 0..TALKERS {
            scope.spawn(|| {
                let mut stream = browser.stream("con0", "mode=watch");
                stream.write(&messages);
                stream.write(&frame(9, b"all is said"));
                stream.wait_for_pong();
                silent.fetch_add(1, Ordering::SeqCst);
            });
        }
        let mut client = connect(page.address);
        let mut answered = 0;
        while silent.load(Ordering::SeqCst) < TALKERS {
            is_asked(&mut client, &other);
            answered += 1;
        }
        answered
    });
    let wanted = MESSAGES * TALKERS / BETWEEN;
    assert!(answered >= wanted, "{answered} of {wanted}");
}

/// A request, and its answer, over a connection that stays.
fn is_asked(client: &mut TcpStream, browser: &Browser) {
    let request = format!("GET /healthz HTTP/1.1\r\n{}\r\n", lines(browser));
    client.write_all(request.as_bytes()).expect("it is asked");
    let mut answer: Vec<u8> = Vec::new();
    let mut piece = [0; 4096];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = client.read(&mut piece).expect("an answer");
        assert!(count > 0, "it has ended");
        answer.extend(&piece[..count]);
    }
}

/// A frame of a client, short and masked by zeros.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("it is short");
    [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

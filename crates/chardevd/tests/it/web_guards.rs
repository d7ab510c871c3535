//! Guards of the web page: what is not let in, whatever is tried, and that nobody else feels it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use chardev_qapi::Json;
use tungstenite::Message;

use crate::ctl_rig::{LIMIT, text, until};
use crate::web_rig::{API, Page, Reply, Stream, Told, connect};

/// A console that shows what is typed, and one beside it at a socket.
const FILE: &str = "
    [console.con0]\nto = 'ringbuf'\nexec = 'stty raw -echo; exec cat'\n
    [console.beside]\nexec = 'stty raw -echo; exec cat'\n
    to = 'unix:beside.sock,server=on,wait=off'\n";

fn page(web: &str) -> (Page, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let page = Page::configured(dir.path(), &format!("{FILE}{web}"));
    (page, dir)
}

/// What a request says of itself.
type Headers = Vec<(&'static str, String)>;

/// `headers` with this one said otherwise, or not at all.
fn but(headers: &[(&'static str, String)], name: &'static str, value: Option<&str>) -> Headers {
    let mut headers = headers.to_vec();
    headers.retain(|(key, _)| *key != name);
    headers.extend(value.map(|value| (name, value.to_owned())));
    headers
}

#[test]
fn who_does_not_come_from_the_page_itself_is_let_in_nowhere() {
    let (page, _dir) = page("");
    let browser = page.browser();
    let good = browser.headers();
    let evil = "http://evil.example";
    let port = page.address.port();
    let other = format!("http://127.0.0.1:{}", port ^ 1);
    let twice = [good.clone(), but(&[], "Host", Some("127.0.0.1"))].concat();
    let with = |name, value| [good.clone(), vec![(name, String::from(value))]].concat();
    let cookie = browser.cookie.clone().expect("a cookie");
    let (name, secret) = cookie.split_once('=').expect("a cookie");
    let longer = format!("{name}={secret}x");
    let shorter = format!("{name}={}", &secret[..secret.len() - 1]);
    let foreign = format!("chardev-1={secret}");
    let both = format!("{cookie}; {cookie}");
    let table: [(&str, Headers, u16); 18] = [
        (
            "a foreign name",
            but(&good, "Host", Some("evil.example")),
            421,
        ),
        (
            "a name that ends well",
            but(&good, "Host", Some("evil.localhost")),
            421,
        ),
        ("another port", but(&good, "Host", Some("localhost:1")), 421),
        ("two hosts", twice, 400),
        ("no host", but(&good, "Host", None), 400),
        ("another page", but(&good, "Origin", Some(evil)), 403),
        (
            "another port's page",
            but(&good, "Origin", Some(&other)),
            403,
        ),
        (
            "a page without an origin",
            but(&good, "Origin", Some("null")),
            403,
        ),
        ("no origin", but(&good, "Origin", None), 403),
        ("no mark", but(&good, "X-Requested-By", None), 403),
        (
            "another mark",
            but(&good, "X-Requested-By", Some("XMLHttpRequest")),
            403,
        ),
        ("another site", with("Sec-Fetch-Site", "cross-site"), 403),
        (
            "another part of the site",
            with("Sec-Fetch-Site", "same-site"),
            403,
        ),
        ("no cookie", but(&good, "Cookie", None), 401),
        ("a longer cookie", but(&good, "Cookie", Some(&longer)), 401),
        (
            "a shorter cookie",
            but(&good, "Cookie", Some(&shorter)),
            401,
        ),
        (
            "another daemon's cookie",
            but(&good, "Cookie", Some(&foreign)),
            401,
        ),
        ("two cookies", but(&good, "Cookie", Some(&both)), 401),
    ];
    let input = format!("{API}/consoles/con0/input");
    for (what, headers, status) in &table {
        let reply = browser.ask("POST", &input, headers, b"typed");
        assert_eq!(reply.status, *status, "{what}: {reply:?}");
        check_headers(&reply);
    }
    // A stream is asked for with GET, and has no mark; what it needs else is the same.
    let stream = format!("{API}/consoles/con0/stream?mode=share");
    let unmarked = ["no mark", "another mark"];
    for (what, headers, status) in table.iter().filter(|(what, ..)| !unmarked.contains(what)) {
        let headers: Vec<_> = headers.clone();
        // Whoever makes the request adds a host of its own.
        if headers.iter().filter(|(name, _)| *name == "Host").count() != 1 {
            continue;
        }
        let refused = Stream::open(page.address, &stream, &headers).err();
        assert_eq!(refused, Some(*status), "{what}");
    }
    // A link on a foreign page leads to the page, and to nothing more.
    let navigated = [
        with("Sec-Fetch-Site", "cross-site"),
        vec![("Sec-Fetch-Mode", "navigate".to_owned())],
    ];
    let navigated = but(&navigated.concat(), "Origin", None);
    assert_eq!(browser.ask("GET", "/", &navigated, b"").status, 200);
    let counters = browser.get("/consoles/con0").json();
    let typed = counters
        .get("counters")
        .and_then(|all| all.get("input-offset"));
    assert_eq!(typed.and_then(Json::as_u64), Some(0), "nothing was typed");
    assert_eq!(browser.post("/consoles/con0/input", "typed").status, 200);
}

/// What every answer has.
fn check_headers(reply: &Reply) {
    let policy = reply.header("content-security-policy").unwrap_or_default();
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{part}: {reply:?}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{reply:?}");
    }
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn every_answer_tells_the_browser_what_it_may_do() {
    let (page, _dir) = page("");
    let browser = page.browser();
    for path in [
        "/",
        "/login",
        "/main.js",
        "/nothing",
        "/../Cargo.toml",
        "/healthz",
        "/readyz",
        "/api/v1/me",
        "/api/v1/consoles",
        "/api/v1/consoles/nobody",
        "/api/v1/consoles/con0/history",
        "/api/v1/nothing",
        "/api/v1/openapi.json",
    ] {
        let reply = browser.ask("GET", path, &browser.headers(), b"");
        check_headers(&reply);
        if path.starts_with("/api/") {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        }
        check_headers(&browser.ask("DELETE", path, &browser.headers(), b""));
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let (page, _dir) = page("");
    let browser = page.browser();
    let post = |body: &str| browser.post("/consoles/con0/input", body).status;
    assert_eq!(post(&"x".repeat((64 << 10) + 1)), 413);
    let deep = "[".repeat(60_000);
    assert_eq!(browser.post("/consoles/con0/change", &deep).status, 400);
    for (what, headers) in [
        ("a long header", vec![("X-Long", "x".repeat(17 << 10))]),
        ("many headers", vec![("X-Many", "x".to_owned()); 70]),
    ] {
        let headers = [browser.headers(), headers].concat();
        let reply = browser.ask("GET", "/", &headers, b"");
        assert!([431, 400].contains(&reply.status), "{what}: {reply:?}");
    }
    for (what, frame) in [
        ("a long frame", Message::binary(vec![0; (64 << 10) + 9])),
        ("a short frame", Message::binary(vec![0; 7])),
        ("a far offset", Message::binary(vec![0xff; 9])),
        ("no JSON", Message::text("{")),
        ("another word", Message::text("{\"run\": \"sh\"}")),
    ] {
        let mut stream = browser.stream("con0", "mode=share");
        stream.send(frame);
        loop {
            if let Told::End(_) = stream.next_output() {
                break;
            }
        }
        assert_eq!(post("x"), 200, "{what}");
    }
    // Who only looks types nothing.
    let mut stream = browser.stream("con0", "mode=watch");
    stream.type_in(0, b"typed");
    let ended = stream.next_output();
    assert!(
        matches!(&ended, Told::End(Some(reason)) if reason == "forbidden"),
        "{ended:?}"
    );
}

#[test]
fn who_is_slow_is_cut_off() {
    let (page, _dir) = page("");
    let browser = page.browser();
    let head = "GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let body: String = browser
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let body = format!("POST {API}/logout HTTP/1.1\r\n{body}Content-Length: 100\r\n\r\n");
    let began = Instant::now();
    let slow = [head.to_owned(), body].map(|begin| {
        let mut client = connect(page.address);
        client.write_all(begin.as_bytes()).expect("it is taken");
        std::thread::spawn(move || {
            // A byte a second, until it has had enough.
            client
                .set_read_timeout(Some(Duration::from_secs(1)))
                .expect("a limit");
            let mut byte = [0; 512];
            while began.elapsed() < LIMIT {
                match client.read(&mut byte) {
                    Ok(_) => return began.elapsed(),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return began.elapsed(),
                }
                let _ = client.write_all(b"x");
            }
            panic!("it is served for ever");
        })
    });
    for slow in slow {
        let took = slow.join().expect("it ends");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

#[test]
fn a_thousand_idle_streams_cost_little_and_nobody_else_anything() {
    let (page, _dir) = page("[web]\nlisten = '127.0.0.1:0'\nconnections = 1100\n");
    // Each of them may ask so often at once.
    let browsers: Vec<_> = (0..6).map(|_| page.browser()).collect();
    let browser = &browsers[5];
    let before = page.memory();
    let mut streams: Vec<Stream> = Vec::new();
    let path = format!("{API}/consoles/con0/stream");
    while streams.len() < 1000 {
        let headers = browsers[streams.len() / 200].headers();
        streams.push(Stream::open(page.address, &path, &headers).expect("a stream"));
    }
    let each = (page.memory().saturating_sub(before)) / 1000;
    assert!(each < 64, "{each} KiB for each");
    let beside = round_trips(&page, || false);
    assert!(beside < Duration::from_millis(20), "{beside:?}");
    // One connection too many is refused, whoever it is.
    let full = (0..=100).find_map(|_| idle(&page, &mut streams, &path, &browser.headers()));
    assert_eq!(full, Some(503));
    drop(streams);
    until("all have left", || {
        let reply = browser.get("/consoles/con0");
        reply.status == 200 && reply.json().get("viewers").and_then(Json::as_u64) == Some(0)
    });
}

/// One more; or the status of the refusal.
fn idle(
    page: &Page,
    streams: &mut Vec<Stream>,
    path: &str,
    headers: &[(&'static str, String)],
) -> Option<u16> {
    match Stream::open(page.address, path, headers) {
        Ok(stream) => {
            streams.push(stream);
            None
        }
        Err(status) => Some(status),
    }
}

#[test]
fn ten_thousand_requests_are_bounded_and_a_console_beside_does_not_feel_them() {
    let (page, _dir) = page("");
    let browser = page.browser();
    let before = page.memory();
    let began = Instant::now();
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let browser = browser.clone();
            std::thread::spawn(move || {
                let mut answered = 0;
                let headers = browser.headers().into_iter();
                let headers = headers.map(|(name, value)| format!("{name}: {value}\r\n"));
                let headers = headers.collect::<String>();
                let request = format!("GET {API}/consoles HTTP/1.1\r\n{headers}\r\n");
                let mut client = connect(browser.address);
                for _ in 0..50 {
                    client
                        .write_all(request.repeat(50).as_bytes())
                        .expect("it is taken");
                    let mut statuses = Vec::new();
                    let mut rest = Vec::new();
                    while statuses.len() < 50 {
                        let mut piece = [0; 16 << 10];
                        let count = client.read(&mut piece).expect("it answers");
                        assert!(count > 0, "it is not cut off for that");
                        rest.extend(&piece[..count]);
                        statuses = text(&rest)
                            .match_indices("HTTP/1.1 ")
                            .filter_map(|(at, _)| rest.get(at + 9..at + 12).map(text))
                            .collect();
                    }
                    answered += statuses.iter().filter(|status| *status == "200").count();
                    assert!(
                        statuses
                            .iter()
                            .all(|status| ["200", "429"].contains(&status.as_str()))
                    );
                }
                answered
            })
        })
        .collect();
    let beside = round_trips(&page, || askers.iter().all(|it| it.is_finished()));
    let answered: usize = askers
        .into_iter()
        .map(|it| it.join().expect("an asker"))
        .sum();
    let seconds = began.elapsed().as_secs_f64();
    assert!(
        answered as f64 <= 300.0 + 100.0 * (seconds + 1.0),
        "{answered} in {seconds} s"
    );
    assert!(answered >= 200, "{answered}");
    assert!(beside < Duration::from_millis(20), "{beside:?}");
    let grown = page.memory().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
}

/// The median of how long a byte takes through the console beside, there and back.
fn round_trips(page: &Page, is_over: impl Fn() -> bool) -> Duration {
    let beside = page.daemon.dir().join("beside.sock");
    let mut beside = UnixStream::connect(beside).expect("it listens");
    beside.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut times = Vec::new();
    while times.len() < 200 || times.len() < 5000 && !is_over() {
        let began = Instant::now();
        beside.write_all(b"x").expect("it is typed");
        beside.read_exact(&mut [0]).expect("it is shown");
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

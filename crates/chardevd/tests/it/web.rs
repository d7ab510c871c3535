//! The web page: who comes in, and what the API tells.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use chardev_qapi::Json;
use socket2::{Domain, Socket, Type};

use crate::ctl_rig::{Attached, Daemon, text};
use crate::web_rig::{API, Browser, Page, Told, connect, link};

const CAT: [&str; 4] = [
    "--chardev",
    "ringbuf,id=con0,x-history=1M",
    "--device",
    "exec,chardev=con0,command=stty raw -echo; echo ready; exec cat",
];

#[test]
fn a_link_lets_one_browser_in_as_the_one_who_asked_for_it() {
    let page = Page::with(&CAT);
    let (_, code) = link(&page.daemon);
    let mut first = page.stranger();
    assert_eq!(first.get("/me").status, 401);
    assert_eq!(first.log_in("code", &code).status, 200);
    let me = first.get("/me").json();
    let who = me.get("who").and_then(Json::as_str).unwrap_or_default();
    assert!(who.starts_with("chardevctl (pid "), "{me}");
    assert_eq!(me.get("admin").and_then(Json::as_bool), Some(true));
    let mut second = page.stranger();
    let refused = second.log_in("code", &code);
    assert_eq!(
        (refused.status, refused.class().as_str()),
        (401, "bad-link")
    );
    assert_eq!(second.get("/me").status, 401);
    // It is over when it is over.
    let stolen = first.clone();
    assert_eq!(first.post("/logout", "").status, 200);
    assert_eq!(stolen.get("/me").status, 401);
}

#[test]
fn a_link_that_is_asked_for_early_leads_to_where_the_page_will_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_full, port) = unanswered();
    // The daemon starts for 2 s if a console has to wait for its peer.
    let configuration = format!(
        "[console.late]\nexec = 'cat'\nto = 'socket,host=127.0.0.1,port={port}'\n
        [web]\nlisten = '127.0.0.1:0'\nhosts = ['consoles.example:8443']\n"
    );
    let file = dir.path().join("chardevd.toml");
    std::fs::write(&file, configuration).expect("a file");
    let daemon = Daemon::with(&["--config", file.to_str().expect("a path")]);
    let url = daemon.succeed(&["web", "--print"]);
    assert!(
        url.starts_with("http://consoles.example:8443/login#"),
        "{url}"
    );
}

/// A port where nobody is answered, because too many wait already.
fn unanswered() -> (Vec<Socket>, u16) {
    let new = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().expect("an address");
    let port = address.as_socket().expect("an address").port();
    let mut all = vec![listener];
    for _ in 0..3 {
        let client = new();
        client.set_nonblocking(true).expect("a socket");
        // It begins to.
        let _ = client.connect(&address);
        all.push(client);
    }
    (all, port)
}

#[test]
fn consoles_are_listed_typed_on_and_looked_at() {
    let page = Page::with(&CAT);
    let browser = page.browser();
    let consoles = browser.get("/consoles").json();
    let consoles = consoles.as_array().expect("a list").to_vec();
    let ids: Vec<_> = consoles
        .iter()
        .filter_map(|it| it.get("id")?.as_str())
        .collect();
    assert_eq!(ids, ["con0"], "the monitor's chardev is no console");
    let word = |name| consoles[0].get(name).and_then(Json::as_str);
    assert_eq!(
        (word("kind"), word("role")),
        (Some("ringbuf"), Some("admin"))
    );

    let mut stream = browser.stream("con0", "mode=share&from=oldest&input=k");
    assert_eq!(text(&stream.output(6)), "ready\n");
    stream.type_in(0, b"hello");
    stream.wait_typed(5);
    // It comes back a moment after it was typed.
    while stream.at < 11 {
        stream.next();
    }
    let history = browser.get("/consoles/con0/history?from=6&size=3");
    let numbers = ["x-start", "x-next", "x-oldest", "x-end"].map(|name| history.number(name));
    assert_eq!(
        (text(&history.body).as_str(), numbers),
        ("hel", [6, 9, 0, 11])
    );
    let screen = browser.get("/consoles/con0/screen").json();
    let rows = screen.get("text").and_then(Json::as_array).expect("rows");
    assert_eq!(
        rows[1].as_str().map(str::trim_end),
        Some("     hello"),
        "{screen}"
    );

    let changed = browser.post("/consoles/con0/change", r#"{"type": "null", "data": {}}"#);
    assert_eq!(changed.status, 200, "{changed:?}");
    loop {
        match stream.next() {
            Told::Event(event) => {
                let name = event.get("name").and_then(Json::as_str);
                if name == Some("X_CHARDEV_CHANGED") {
                    break;
                }
            }
            Told::End(reason) => panic!("{reason:?}"),
            _ => {}
        }
    }
    let one = browser.get("/consoles/con0").json();
    let kind = one
        .get("backend")
        .and_then(|it| it.get("type"))
        .and_then(Json::as_str);
    assert_eq!(kind, Some("null"), "{one}");
}

#[test]
fn output_is_told_as_events_that_go_on_where_they_ended() {
    let page = Page::with(&CAT);
    let browser = page.browser();
    let mut events = Events::open(&browser, "/consoles/con0/output?from=oldest", None);
    let (id, data) = events.next();
    assert_eq!((id.as_str(), data.as_str()), ("6", "cmVhZHkK"));
    drop(events);
    assert_eq!(browser.post("/consoles/con0/input", "abc").status, 200);
    let mut events = Events::open(&browser, "/consoles/con0/output", Some(&id));
    let mut all = String::new();
    while all.len() < 3 {
        let (_, data) = events.next();
        let bytes = chardev_qmp::ringbuf::decode(&data, chardev_qmp::ringbuf::Format::Base64);
        all += &text(&bytes.expect("base64"));
    }
    assert_eq!(all, "abc");
    // What happens to the consoles is told, too.
    let mut events = Events::open(&browser, "/events", None);
    assert_eq!(
        browser
            .post("/consoles/con0/mark", r#"{"text": "here"}"#)
            .status,
        200
    );
    loop {
        let (_, data) = events.next();
        let told = Json::parse(&data).expect("JSON");
        if told.get("text").and_then(Json::as_str) == Some("here") {
            break;
        }
    }
}

/// Server-sent events.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(browser: &Browser, path: &str, last: Option<&str>) -> Events {
        let mut client = connect(browser.address);
        let mut headers = browser.headers();
        headers.extend(last.map(|last| ("Last-Event-ID", last.to_owned())));
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<String>();
        let request = format!("GET {API}{path} HTTP/1.1\r\n{lines}\r\n");
        client.write_all(request.as_bytes()).expect("it is asked");
        let mut events = Events(BufReader::new(client));
        assert_eq!(events.line(), "HTTP/1.1 200 OK");
        while !events.line().is_empty() {}
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        assert!(line.ends_with('\n'), "it ended");
        line.trim_end().to_owned()
    }

    /// The id and the data of the next one.
    fn next(&mut self) -> (String, String) {
        let (mut id, mut data) = (String::new(), None);
        loop {
            // What is around it is how HTTP cuts an answer that has no end.
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", value)) => id = value.to_owned(),
                Some(("data", value)) => data = Some(value.to_owned()),
                _ if line.is_empty() && data.is_some() => {
                    return (id, data.unwrap_or_default());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn who_takes_over_is_alone_and_the_others_learn_from_whom() {
    let page = Page::with(&CAT);
    let (first, second) = (page.browser(), page.browser());
    let mut mine = first.stream("con0", "mode=share");
    let mut theirs = second.stream("con0", "mode=share");
    let mut shared = page.daemon.command();
    let mut attached = Attached::begin(shared.args(["attach", "con0", "--share"]));
    attached.wait_for("attached");
    let names = loop {
        match mine.next() {
            Told::Other(told) => {
                let list = told.get("attached").and_then(Json::as_array);
                if list.is_some_and(|list| list.len() == 2) {
                    break told.to_string();
                }
            }
            Told::End(reason) => panic!("{reason:?}"),
            _ => {}
        }
    };
    assert!(names.contains("share"), "{names}");
    // Which of them one is oneself is told, and to nobody else.
    for (browser, own) in [(&first, 1), (&page.browser(), 0)] {
        let told = browser.get("/consoles/con0").json();
        let list = told.get("attached").and_then(Json::as_array);
        let list = list.expect("somebody is attached").iter();
        let is_own = |one: &&Json| one.get("own").and_then(Json::as_bool) == Some(true);
        assert_eq!(list.filter(is_own).count(), own, "{told}");
    }
    let answer = first.post("/consoles/con0/takeover", "").json();
    let displaced = answer.get("displaced").and_then(Json::as_u64);
    assert!(displaced >= Some(1), "{answer}");
    loop {
        if let Told::End(reason) = theirs.next() {
            assert_eq!(reason.as_deref(), Some("taken"));
            break;
        }
    }
    // Who made the link may have left before it was looked up what its program is called.
    attached.wait_for("taken by ");
    let mut typed = 0;
    mine.type_in(0, b"alone");
    while typed < 5 {
        match mine.next() {
            Told::Output(output) => typed += output.len(),
            Told::End(reason) => panic!("{reason:?}"),
            _ => {}
        }
    }
}

#[test]
fn a_console_that_could_not_be_started_is_listed_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let consoles = "[console.con0]\nto = 'ringbuf'\nexec = 'cat'\n
        [console.broken]\nserial = '/dev/nosuchtty'\ndescription = 'A board'\n";
    let page = Page::configured(dir.path(), consoles);
    let browser = page.browser();
    let list = browser.get("/consoles").json();
    let ids = list.as_array().expect("a list").iter();
    let ids: Vec<_> = ids.filter_map(|it| it.get("id")?.as_str()).collect();
    assert_eq!(ids, ["con0", "broken"], "{list}");
    let one = browser.get("/consoles/broken").json();
    let member = |name: &str| one.get(name).and_then(Json::as_str);
    assert_eq!(member("state"), Some("failed"), "{one}");
    assert_eq!(member("description"), Some("A board"), "{one}");
    let reason = member("reason").unwrap_or_default();
    assert!(reason.contains("/dev/nosuchtty"), "{one}");
    assert_eq!(one.get("kind"), None, "{one}");
}

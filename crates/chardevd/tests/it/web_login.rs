//! Who comes in to the web page: tokens, what a proxy says, and what each of them may.

use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

use chardev_qapi::Json;

use crate::ctl_rig::{LIMIT, text};
use crate::web_rig::{API, Browser, Page, Reply, connect};

/// Two consoles, and tokens.
const FILE: &str = "
    [console.con0]\nto = 'ringbuf'\nexec = 'cat'\nhistory = '1M'\n
    [console.other]\nto = 'ringbuf'\nexec = 'cat'\n
    [tokens]\nfile = 'tokens'\n";

fn page(more: &str) -> (Page, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let page = Page::configured(dir.path(), &format!("{FILE}{more}"));
    (page, dir)
}

/// Makes a token for `con0`.
fn token(page: &Page, role: &str) -> String {
    let name = format!("the-{role}");
    let made = ["token", "add", &name, "--role", role, "--console", "con0"];
    page.daemon.succeed(&made).trim().to_owned()
}

/// Asks with a token and nothing else.
fn bear(page: &Page, token: &str, method: &str, path: &str, body: &str) -> Reply {
    let headers = [
        ("Host", page.address.to_string()),
        ("Authorization", format!("Bearer {token}")),
    ];
    page.stranger().ask(method, path, &headers, body.as_bytes())
}

/// The least role for each request of the API, for a console; `None` is anybody at all, and the
/// empty role anybody who is logged in.
const NEEDED: [(&str, &str, Option<&str>, &str); 24] = [
    ("get", "/healthz", None, ""),
    ("get", "/readyz", None, ""),
    ("get", "/api/v1/me", Some(""), ""),
    ("get", "/api/v1/consoles", Some(""), ""),
    ("get", "/api/v1/schema/backends", Some(""), ""),
    ("get", "/api/v1/events", Some(""), ""),
    ("get", "/api/v1/consoles/{id}", Some("view"), ""),
    ("get", "/api/v1/consoles/{id}/stream", Some("view"), ""),
    ("get", "/api/v1/consoles/{id}/output", Some("view"), ""),
    ("get", "/api/v1/consoles/{id}/history", Some("view"), ""),
    ("get", "/api/v1/consoles/{id}/screen", Some("view"), ""),
    ("get", "/api/v1/consoles/{id}/timeline", Some("view"), ""),
    ("post", "/api/v1/consoles/{id}/input", Some("attach"), "x"),
    ("post", "/api/v1/consoles/{id}/break", Some("attach"), ""),
    (
        "post",
        "/api/v1/consoles/{id}/size",
        Some("attach"),
        r#"{"cols": 80, "rows": 24}"#,
    ),
    (
        "post",
        "/api/v1/consoles/{id}/mark",
        Some("attach"),
        r#"{"text": "here"}"#,
    ),
    ("post", "/api/v1/consoles/{id}/takeover", Some("attach"), ""),
    (
        "post",
        "/api/v1/consoles/{id}/policy",
        Some("change"),
        r#"{"x-history": 1000}"#,
    ),
    (
        "post",
        "/api/v1/consoles/{id}/change",
        Some("change"),
        r#"{"type": "ringbuf", "data": {}}"#,
    ),
    // These end what asks, or need what only a browser has; they have tests of their own.
    ("get", "/api/v1/fleet", Some("view"), "-"),
    ("post", "/api/v1/fleet/{host}/page", Some("view"), "-"),
    ("post", "/api/v1/login", None, "-"),
    ("post", "/api/v1/logout", Some(""), "-"),
    ("get", "/api/v1/openapi.json", None, ""),
];

#[test]
fn every_request_is_for_those_who_have_the_role_and_for_nobody_else() {
    let (page, _dir) = page("");
    let roles = ["view", "attach", "change", "admin"];
    let tokens = roles.map(|role| token(&page, role));
    let document = page.browser().get("/openapi.json").json();
    let paths = document
        .get("paths")
        .and_then(Json::as_object)
        .expect("paths");
    let listed = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(move |(method, _)| (method, path))
    });
    let listed: Vec<_> = listed.collect();
    for (method, path) in &listed {
        let known = NEEDED.iter().any(|(m, p, ..)| (m, p) == (method, path));
        assert!(known, "nothing says who may {method} {path}");
    }
    for (method, path, needed, body) in NEEDED.into_iter().filter(|it| it.3 != "-") {
        let is_listed = listed.contains(&(method, path)) || path.ends_with("openapi.json");
        assert!(is_listed, "{method} {path} is not in the document");
        let method = method.to_uppercase();
        let ask = |id: &str, token: &str| {
            let path = path.replace("{id}", id);
            let path = match path.ends_with("/output") || path.ends_with("/events") {
                // It goes on for ever; whether it begins is what counts.
                true => return begins(&page, &path, token),
                false => path,
            };
            bear(&page, token, &method, &path, body).status
        };
        let none = page.stranger().ask(
            &method,
            &path.replace("{id}", "con0"),
            &page.stranger().headers(),
            body.as_bytes(),
        );
        let expected = if needed.is_some() { 401 } else { 200 };
        assert_eq!(none.status, expected, "{method} {path} by nobody");
        for (rank, (role, token)) in roles.iter().zip(&tokens).enumerate() {
            let least = roles
                .iter()
                .position(|role| Some(*role) == needed)
                .unwrap_or(0);
            // A stream that is let in is no WebSocket here, which is said after that.
            let good = if path.ends_with("/stream") { 426 } else { 200 };
            let expected = if rank >= least { good } else { 403 };
            let status = ask("con0", token);
            let is_upgrade = path.ends_with("/stream") && [400, 426].contains(&status);
            assert!(
                status == expected || is_upgrade,
                "{method} {path} as {role}: {status}"
            );
            if path.contains("{id}") && !path.ends_with("/stream") {
                // One that it is not for is not there.
                assert_eq!(
                    ask("other", token),
                    404,
                    "{method} {path} of another as {role}"
                );
            }
        }
    }
}

/// The status of an answer that has no end.
fn begins(page: &Page, path: &str, token: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut client = crate::web_rig::connect(page.address);
    let host = page.address;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.write_all(request.as_bytes()).expect("it is asked");
    let mut head = [0; 12];
    client.read_exact(&mut head).expect("it answers");
    text(&head[9..]).parse().expect("a status")
}

#[test]
fn events_of_a_console_that_never_falls_silent_end_with_their_token() {
    let dir = tempfile::tempdir().unwrap();
    let flood = "[console.con0]\nto = 'null'\nexec = 'while :; do echo flood; sleep 0.01; done'\n\
                 [tokens]\nfile = 'tokens'\n";
    let page = Page::configured(dir.path(), flood);
    let secret = token(&page, "view");
    let host = page.address;
    let mut client = connect(host);
    let asked = format!(
        "GET {API}/consoles/con0/output HTTP/1.1\r\nHost: {host}\r\n\
         Authorization: Bearer {secret}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(asked.as_bytes()).unwrap();
    let mut events = BufReader::new(client);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert_ne!(events.read_line(&mut line).unwrap(), 0);
    }
    page.daemon.succeed(&["token", "remove", "the-view"]);
    // What was on its way still comes.
    let end = Instant::now() + LIMIT;
    let mut last = String::new();
    line.clear();
    while events.read_line(&mut line).unwrap() > 0 {
        assert!(Instant::now() < end, "it goes on");
        if line.starts_with("data: ") {
            last.clone_from(&line);
        }
        line.clear();
    }
    assert_eq!(last, "data: forbidden\n");
}

#[test]
fn a_token_logs_a_browser_in_until_it_is_removed() {
    let (page, _dir) = page("");
    let secret = token(&page, "attach");
    let mut browser = page.stranger();
    let reply = browser.log_in("token", "chardev_0000");
    assert_eq!((reply.status, reply.class().as_str()), (401, "bad-token"));
    assert_eq!(browser.log_in("token", &secret).status, 200);
    let me = browser.get("/me").json();
    let who = me.get("who").and_then(Json::as_str).unwrap_or_default();
    assert!(who.starts_with("token the-attach (127.0.0.1:"), "{who}");
    let seen = browser.get("/consoles").json();
    let ids = seen.as_array().expect("a list").iter();
    let ids: Vec<_> = ids.filter_map(|it| it.get("id")?.as_str()).collect();
    assert_eq!(ids, ["con0"]);
    assert_eq!(
        bear(&page, &secret, "GET", &format!("{API}/me"), "").status,
        200
    );
    page.daemon.succeed(&["token", "remove", "the-attach"]);
    assert_eq!(browser.get("/me").status, 401);
    assert_eq!(
        bear(&page, &secret, "GET", &format!("{API}/me"), "").status,
        401
    );
}

#[test]
fn guesses_are_slowed_down() {
    let (page, _dir) = page("");
    let known = page.browser();
    let mut browser = page.stranger();
    let statuses: Vec<_> = (0..30)
        .map(|_| browser.log_in("token", "chardev_1").status)
        .collect();
    assert_eq!((statuses[0], statuses[29]), (401, 429), "{statuses:?}");
    // Whoever is in stays so, and a link is no guess.
    page.browser();
    assert_eq!(known.get("/me").status, 200);
}

#[test]
fn a_proxy_says_who_asks_and_nobody_else_does() {
    let web = "[web]\nlisten = '127.0.0.1:0'\nproxy = '127.0.0.1'\n
        [[access]]\nrole = 'attach'\nusers = 'daemon'\nconsoles = 'con0'\n";
    let (page, _dir) = page(web);
    let named = |name: &str| {
        let mut headers = page.stranger().headers();
        headers.push(("X-Remote-User", name.to_owned()));
        headers
    };
    let ask = |path: &str, headers: &[(&str, String)]| {
        page.stranger()
            .ask("GET", &format!("{API}{path}"), headers, b"")
    };
    let me = ask("/me", &named("daemon")).json();
    assert_eq!(me.get("admin").and_then(Json::as_bool), Some(false), "{me}");
    assert_eq!(me.get("how").and_then(Json::as_str), Some("proxy"), "{me}");
    assert_eq!(ask("/consoles/con0", &named("daemon")).status, 200);
    assert_eq!(ask("/consoles/other", &named("daemon")).status, 404);
    assert_eq!(ask("/me", &named("nobody-of-that-name")).status, 403);
    let twice = [named("daemon"), vec![("X-Remote-User", "root".to_owned())]].concat();
    assert_eq!(ask("/me", &twice).status, 400);
    // A browser that comes by the proxy is told what to ask for, as any other.
    let mut foreign = named("daemon");
    foreign.retain(|(name, _)| *name != "Origin");
    let path = format!("{API}/consoles/con0/break");
    assert_eq!(
        page.stranger().ask("POST", &path, &foreign, b"").status,
        403
    );
    // A cookie's value that looks like what is kept of a proxy's user is nobody's.
    let forged = Browser {
        cookie: Some(format!("chardev-{}=proxy daemon", page.address.port())),
        ..page.stranger()
    };
    assert_eq!(forged.get("/me").status, 401);

    // From anywhere else it is refused.
    let file = page.daemon.dir().join("elsewhere.toml");
    let text = format!("{FILE}[web]\nlisten = '127.0.0.1:0'\nproxy = '192.0.2.1'\n");
    std::fs::write(&file, text).expect("a file");
    let elsewhere = Page::with(&["--config", file.to_str().expect("a path")]);
    let mut headers = elsewhere.stranger().headers();
    headers.push(("X-Remote-User", "root".to_owned()));
    let reply = elsewhere
        .stranger()
        .ask("GET", &format!("{API}/me"), &headers, b"");
    assert_eq!(reply.status, 403, "{reply:?}");
}

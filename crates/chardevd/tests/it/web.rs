//! The web page: who comes in, and what the API tells.

use chardev_qapi::Json;

use crate::ctl_rig::text;
use crate::web_rig::{Page, Told, link};

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

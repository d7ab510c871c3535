//! A server in a program: what it refuses, what commands of the program's get, and how it ends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use chardev::{BlockingFrontEnd, Chardevs, FrontEndHooks, Input};
use chardev_monitor::{
    Builder, Clients, Command, Json, Mode, Object, OwnCommand, QmpError, Reason, ServeError, Server,
};
use chardev_qapi::ErrorKind;
use chardev_qmp::client::{Client, ClientError};

const LIMIT: Duration = Duration::from_secs(20);

/// A client of what `builder` makes, on a pair of sockets.
fn served(builder: Builder) -> (Server, Client<UnixStream>) {
    let server = builder.start().unwrap();
    let client = another(&server);
    (server, client)
}

fn another(server: &Server) -> Client<UnixStream> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.serve_fd(theirs.into()).unwrap();
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    Client::connect(ours).unwrap()
}

fn connected(path: &Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    Client::connect(stream).unwrap()
}

#[derive(Debug)]
struct NoHooks;
impl FrontEndHooks for NoHooks {}

fn nothing(_: &Object, _: &chardev_monitor::Caller) -> Result<Json, QmpError> {
    Ok(Object::new().into())
}

#[test]
fn a_name_can_be_taken_once() {
    let chardevs = Chardevs::new().unwrap();
    let builder = || Server::builder(&chardevs).command("x-own", nothing);
    for (builder, name) in [
        (builder().command("x-own", nothing), "x-own"),
        (builder().command("quit", nothing), "quit"),
        (
            builder().command("qmp_capabilities", nothing),
            "qmp_capabilities",
        ),
    ] {
        match builder.start() {
            Err(ServeError::Duplicate(found)) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
    }
    assert!(builder().command("X-OWN", nothing).start().is_ok());
}

#[test]
fn a_path_that_somebody_serves_at_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let chardevs = Chardevs::new().unwrap();
    let first = Server::builder(&chardevs);
    let _first = first.serve_unix(&path, Clients::Any).unwrap();
    let second = Server::builder(&chardevs).serve_unix(&path, Clients::Any);
    assert!(matches!(second, Err(ServeError::Socket(_))), "{second:?}");
    assert_eq!(chardevs.list().len(), 1);
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(Client::connect(stream).is_ok());
}

#[test]
fn the_number_of_clients_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let server = Server::builder(&chardevs).start().unwrap();
    let mut asking = another(&server);
    for (clients, limit) in [
        (Clients::One, 1),
        (Clients::AtMost(3), 3),
        (Clients::Any, 0),
    ] {
        let path = folder.path().join(format!("qmp{limit}"));
        server.serve_unix(&path, clients).unwrap();
        let label = format!("qmp{}", chardevs.list().len() - 1);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let _client = Client::connect(stream).unwrap();
        let all = asking.execute("x-query-monitors", Object::new()).unwrap();
        let own = |monitor: &&Json| monitor.get("label") == Some(&Json::from(label.as_str()));
        let own = all.as_array().unwrap().iter().find(own).unwrap();
        assert_eq!(own.get("limit"), Some(&Json::Int(limit)), "{clients:?}");
    }
    let missing = server.serve("nosuch", Mode::Readline);
    assert!(
        matches!(missing, Err(ServeError::Chardev(_))),
        "{missing:?}"
    );
}

/// A fleet publishes what consoles print, and looks for new ones all the time.
#[test]
fn the_chardev_of_a_monitor_is_never_taken_for_a_console() {
    let folder = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let server = Server::builder(&chardevs).start().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let (mut looks, mut consoles) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                let all = chardevs.list();
                let monitors = server.monitors();
                let others = all.into_iter().map(|it| it.label);
                consoles.extend(others.filter(|it| !monitors.contains(it)));
                looks += 1;
            }
            (looks, consoles)
        });
        for number in 0..100 {
            let path = folder.path().join(number.to_string());
            server.serve_unix(path, Clients::Any).unwrap();
        }
        // It keeps its chardev where that stays, and lets it go where it is told to.
        let reserved = server.reserve_monitor("qmp0");
        chardevs.block_on(server.end("qmp0"));
        chardevs.block_on(chardevs.remove("qmp0")).unwrap();
        drop(reserved);
        done.store(true, Ordering::Relaxed);
        let (looks, consoles) = looking.join().unwrap();
        assert!(looks > 100, "{looks}");
        assert_eq!(consoles, Vec::<String>::new());
    });
    assert!(!server.monitors().contains(&"qmp0".to_owned()));
}

/// What a thread is woken for costs more than what it then does.
#[test]
fn no_other_thread_is_woken_between_a_question_and_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    for clients in [Clients::One, Clients::Any] {
        let chardevs = Chardevs::new().unwrap();
        chardevs.set_io_threads(2, 0);
        let path = folder.path().join(format!("{clients:?}"));
        let server = Server::builder(&chardevs);
        let server = server.serve_unix(&path, clients).unwrap();
        let mut on_path = connected(&path);
        let mut on_pair = another(&server);
        let null = Object::new().with("type", "null");
        let con0 = Object::new().with("id", "con0");
        let add = con0.with("backend", null.clone().with("data", Object::new()));
        on_path.execute("chardev-add", add.clone()).unwrap();
        for client in [&mut on_path, &mut on_pair] {
            let before = chardevs.wakeups();
            for _ in 0..100 {
                client.execute("query-chardev", Object::new()).unwrap();
                client.execute("chardev-change", add.clone()).unwrap();
            }
            let woken = chardevs.wakeups() - before;
            assert!(woken < 20, "{clients:?}: {woken}");
        }
    }
}

#[test]
fn the_chardev_of_a_monitor_that_has_ended_serves_others() {
    let folder = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    chardevs.set_io_threads(2, 0);
    let path = folder.path().join("qmp");
    let server = Server::builder(&chardevs);
    let server = server.serve_unix(&path, Clients::One).unwrap();
    let own = |chardevs: &Chardevs| {
        // Its monitor lets go of it soon.
        let began = Instant::now();
        let front = loop {
            match chardevs.front_end("qmp0", Arc::new(NoHooks)) {
                Ok(front) => break front,
                Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
            }
            std::thread::yield_now();
        };
        let mut peer = UnixStream::connect(&path).unwrap();
        assert!(front.wait_connected(Some(LIMIT)).unwrap());
        peer.write_all(b"x").unwrap();
        let mut byte = [0];
        while front.wait_input(&mut byte, Some(LIMIT)).unwrap() != Some(Input::Data(1)) {}
    };
    let client = connected(&path);
    chardevs.block_on(server.end("qmp0"));
    drop(client);
    own(&chardevs);
    server
        .serve("qmp0", Mode::Control { pretty: false })
        .unwrap();
    let client = connected(&path);
    drop(server);
    drop(client);
    own(&chardevs);
}

#[test]
fn a_command_without_types_gets_whatever_is_sent_and_is_not_in_the_schema() {
    let chardevs = Chardevs::new().unwrap();
    let echo = |arguments: &Object, _: &_| Ok(arguments.clone().into());
    let (_server, mut client) = served(Server::builder(&chardevs).command("x-echo", echo));
    let sent = Object::new().with("a", true).with("b", "c");
    let answer = client.execute("x-echo", sent.clone()).unwrap();
    assert_eq!(answer, Json::Object(sent));
    let schema = client.execute("query-qmp-schema", Object::new()).unwrap();
    assert!(!schema.to_string().contains("x-echo"));
    let listed = client.execute("query-commands", Object::new()).unwrap();
    assert!(listed.to_string().ends_with("{\"name\": \"x-echo\"}]"));
}

#[test]
fn the_future_of_a_command_is_dropped_when_its_client_leaves() {
    struct Told(mpsc::Sender<&'static str>);
    impl Drop for Told {
        fn drop(&mut self) {
            // The test may be over.
            let _ = self.0.send("dropped");
        }
    }
    let (tell, told) = mpsc::channel();
    let chardevs = Chardevs::new().unwrap();
    let forever = OwnCommand::waiting("x-forever", move |_, _| {
        let tell = tell.clone();
        async move {
            let _told = Told(tell.clone());
            let _ = tell.send("begun");
            std::future::pending().await
        }
    });
    let (server, mut client) = served(Server::builder(&chardevs).own_command(forever));
    client.send("x-forever", Object::new()).unwrap();
    assert_eq!(told.recv_timeout(LIMIT), Ok("begun"));
    let mut other = another(&server);
    assert!(other.execute("query-chardev", Object::new()).is_ok());
    drop(client);
    assert_eq!(told.recv_timeout(LIMIT), Ok("dropped"));
}

#[test]
fn the_program_may_ask_for_commands_itself_and_end_with_a_word_to_everybody() {
    let chardevs = Chardevs::new().unwrap();
    let who = |_: &Object, caller: &chardev_monitor::Caller| Ok(caller.who().into());
    let (server, mut client) = served(Server::builder(&chardevs).command("x-who", who));
    let told = client.execute("x-who", Object::new()).unwrap();
    let own = format!("pid {}", std::process::id());
    assert!(told.to_string().contains(&own), "{told}");
    let asked = Command::Own {
        name: "x-who",
        arguments: Object::new(),
    };
    let answer = chardevs.block_on(server.caller().run(asked, None)).unwrap();
    assert_eq!(answer, Json::from("the program"));
    let refused = client.execute("x-who ", Object::new());
    assert!(matches!(refused, Err(ClientError::Command(_))));

    server.stop().request(Reason::Guest);
    chardevs.block_on(server.finished());
    let event = client.next_event().unwrap();
    assert_eq!(event.name, "SHUTDOWN");
    assert_eq!(event.data.get("guest"), Some(&Json::Bool(true)));
    drop(server);
    // Nobody is at the other end any more.
    assert_eq!(client.stream_mut().read(&mut [0; 1]).unwrap(), 0);
}

/// The kind of the error that `command` comes to.
fn kind(client: &mut Client<UnixStream>, command: &str, arguments: &str) -> Option<ErrorKind> {
    let Ok(Json::Object(arguments)) = Json::parse(arguments) else {
        panic!("{arguments}");
    };
    match client.execute(command, arguments) {
        Err(ClientError::Command(error)) => error.kind(),
        other => panic!("{command}: {other:?}"),
    }
}

#[test]
fn errors_say_of_which_kind_they_are_to_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let (server, mut client) = served(Server::builder(&chardevs));
    let path = folder.path().join("served");
    let _served = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let socket = |path: &std::path::Path, server: bool| {
        let path = path.display();
        let address = format!("{{'type': 'unix', 'data': {{'path': '{path}'}}}}");
        let data = format!("{{'addr': {address}, 'server': {server}}}");
        format!("{{'id': 'new', 'backend': {{'type': 'socket', 'data': {data}}}}}")
    };
    let file = |path: &str| {
        let data = format!("{{'out': '{path}'}}");
        format!("{{'id': 'new', 'backend': {{'type': 'file', 'data': {data}}}}}")
    };
    let null = |id: &str| format!("{{'id': '{id}', 'backend': {{'type': 'null', 'data': {{}}}}}}");
    let ring = chardev::spec::Options::new("ringbuf");
    chardevs.blocking_add("ring", ring.clone()).unwrap();
    chardevs.blocking_add("used", ring).unwrap();
    let _front = chardevs.front_end("used", std::sync::Arc::new(()));
    let taken = |id: &str| {
        format!(
            "{{'actions': [{{'type': 'chardev-add', 'data': {}}}]}}",
            null(id)
        )
    };
    let mux = "{'id': 'm', 'backend': {'type': 'mux', 'data': {'chardev': 'none'}}}";
    let cases = [
        (
            "chardev-remove",
            "{'id': 'none'}".to_owned(),
            ErrorKind::NotFound,
        ),
        ("chardev-change", null("none"), ErrorKind::NotFound),
        (
            "chardev-send-break",
            "{'id': 'none'}".to_owned(),
            ErrorKind::NotFound,
        ),
        (
            "x-chardev-reopen-log",
            "{'id': 'none'}".to_owned(),
            ErrorKind::NotFound,
        ),
        (
            "x-query-chardev-stats",
            "{'id': 'none'}".to_owned(),
            ErrorKind::NotFound,
        ),
        (
            "ringbuf-read",
            "{'device': 'none', 'size': 1}".to_owned(),
            ErrorKind::NotFound,
        ),
        (
            "x-chardev-hub-add",
            "{'id': 'none', 'chardev': 'ring'}".to_owned(),
            ErrorKind::NotFound,
        ),
        ("chardev-add", mux.to_owned(), ErrorKind::NotFound),
        ("chardev-add", null("ring"), ErrorKind::Exists),
        ("x-chardev-transaction", taken("ring"), ErrorKind::Exists),
        (
            "chardev-remove",
            "{'id': 'used'}".to_owned(),
            ErrorKind::Busy,
        ),
        ("chardev-add", file("/nowhere/f"), ErrorKind::NoFile),
        ("chardev-add", file("/"), ErrorKind::IsDirectory),
        ("chardev-add", socket(&path, true), ErrorKind::AddressInUse),
        (
            "chardev-add",
            socket(folder.path(), true),
            ErrorKind::IsDirectory,
        ),
        (
            "chardev-add",
            socket(folder.path(), false),
            ErrorKind::Refused,
        ),
    ];
    for (command, arguments, _) in &cases {
        let found = kind(&mut client, command, arguments);
        assert_eq!(found, None, "{command} {arguments}");
    }
    client.ask_for_error_kinds().unwrap();
    for (command, arguments, expected) in &cases {
        let found = kind(&mut client, command, arguments);
        assert_eq!(found, Some(*expected), "{command} {arguments}");
    }
    // What no program can do anything about has none.
    assert_eq!(kind(&mut client, "qom-list", "{'path': '/nowhere'}"), None);
    // It is this client's wish alone.
    let mut other = another(&server);
    assert_eq!(kind(&mut other, "chardev-remove", "{'id': 'none'}"), None);
}

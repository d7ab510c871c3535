//! What is known of kinds through their tables alone: ours in QEMU's short spellings, and one of a
//! program's own, which QMP and people meet like any other.

use std::os::unix::net::UnixStream;

use chardev::Chardevs;
use chardev::back::Kind;
use chardev::spec::{KindSpec, OptionSpec, OptionType, Short};
use chardev_monitor::{Json, Server};
use chardev_qapi::{Device, parse_backend_line, parse_device};
use chardev_qmp::client::Client;

static OWN: Kind = Kind {
    spec: KindSpec::new(
        "x-own",
        "of this program's own",
        &[OptionSpec::new("color", OptionType::Str, "in which color").required()],
    )
    .spelled(&[Short::Path])
    .derived_from("chardev-fd"),
    open: |options, _| {
        Box::pin(
            async move { Err(format!("no {} left", options.str("color").unwrap_or("-")).into()) },
        )
    },
};

fn own() -> (Server, Client<UnixStream>) {
    let chardevs = Chardevs::with_kinds(&[&OWN]).unwrap();
    let server = Server::builder(&chardevs).start().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    server.serve_fd(theirs.into()).unwrap();
    let limit = Some(std::time::Duration::from_secs(20));
    ours.set_read_timeout(limit).unwrap();
    (server, Client::connect(ours).unwrap())
}

fn ask(client: &mut Client<UnixStream>, command: &str, arguments: &str) -> String {
    let arguments = Json::parse(arguments).unwrap();
    let arguments = arguments.as_object().unwrap().clone();
    match client.execute(command, arguments) {
        Ok(answer) => answer.to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_kind_of_ones_own_is_met_like_any_other() {
    let (_server, mut client) = own();
    for (command, arguments, expected) in [
        ("query-chardev-backends", "{}", r#"{"name": "x-own"}"#),
        (
            "qom-list-types",
            "{'implements': 'chardev-fd'}",
            r#""chardev-x-own""#,
        ),
        (
            "query-command-line-options",
            "{'option': 'chardev'}",
            r#""name": "color""#,
        ),
        (
            "human-monitor-command",
            "{'command-line': 'chardev-add help'}",
            "x-own",
        ),
        ("query-qmp-schema", "{}", r#""name": "color""#),
        (
            "chardev-add",
            "{'id': 'c', 'backend': {'type': 'x-own', 'data': {}}}",
            "Parameter 'backend.data.color' is missing",
        ),
        (
            "chardev-add",
            "{'id': 'c', 'backend': {'type': 'x-own', 'data': {'color': 'red'}}}",
            "no red left",
        ),
        (
            "human-monitor-command",
            "{'command-line': 'chardev-add x-own,id=c,color=blue'}",
            "no blue left",
        ),
    ] {
        let answer = ask(&mut client, command, arguments);
        assert!(answer.contains(expected), "{command} {arguments}: {answer}");
    }
    assert_eq!(ask(&mut client, "query-chardev", "{}"), "[]");
}

#[test]
fn a_name_of_ours_is_taken() {
    static NULL: Kind = Kind {
        spec: KindSpec::new("null", "", &[]),
        open: OWN_OPEN,
    };
    const OWN_OPEN: for<'a> fn(
        &'a chardev::spec::Options,
        &'a chardev::back::OpenContext,
    ) -> chardev::back::Opening<'a> = |_, _| Box::pin(async { Err("".into()) });
    let error = Chardevs::with_kinds(&[&NULL]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("'null'"), "{error}");
}

#[test]
fn a_spelling_of_ones_own_is_read() {
    let kinds = [&OWN.spec];
    let line = parse_device("x-own:a,b", &kinds);
    assert_eq!(line, Ok(Device::New("x-own,path=a,,b".to_owned())));
    assert!(parse_device("x-own", &kinds).is_err());
    assert!(parse_backend_line("x-own,color=red", &kinds).is_ok());
}

#[test]
fn device_strings_become_chardev_lines() {
    let kinds = chardev::back::specs();
    for (text, line) in [
        (
            "unix:/tmp/q,server=on,wait=off",
            "socket,path=/tmp/q,server=on,wait=off",
        ),
        (
            "tcp:localhost:4444,server=on",
            "socket,host=localhost,port=4444,server=on",
        ),
        ("tcp::4444", "socket,host=,port=4444"),
        ("tcp:[::1]:4444", "socket,host=::1,port=4444"),
        (
            "telnet::23,server=on",
            "socket,host=,port=23,telnet=on,server=on",
        ),
        ("tn3270:h:23", "socket,host=h,port=23,tn3270=on"),
        (
            "websocket:h:80,server=on",
            "socket,host=h,port=80,websocket=on,server=on",
        ),
        ("udp:far:1", "udp,host=far,port=1"),
        ("udp::1@:2", "udp,host=,port=1,localaddr=,localport=2"),
        (
            "udp:far:1@near:2",
            "udp,host=far,port=1,localaddr=near,localport=2",
        ),
        ("stdio", "stdio"),
        ("mon:stdio", "stdio,mux=on,signal=off"),
        ("mon:null", "null,mux=on"),
        ("pty:/tmp/link", "pty,path=/tmp/link"),
        ("file:a,b", "file,path=a,,b"),
        ("pipe:/tmp/p", "pipe,path=/tmp/p"),
        ("vc", "vc"),
        ("vcfoo", "vc"),
        ("vc:80Cx24C", "vc,cols=80,rows=24"),
        ("vc:800x600", "vc,width=800,height=600"),
        ("/dev/ttyS0", "serial,path=/dev/ttyS0"),
        ("/dev/fdset/3", "serial,path=/dev/fdset/3"),
        ("/dev/parport0", "parallel,path=/dev/parport0"),
        ("COM3", "serial,path=COM3"),
    ] {
        assert_eq!(
            parse_device(text, &kinds),
            Ok(Device::New(line.to_owned())),
            "{text}"
        );
    }
    let existing = Device::Existing("mon0".to_owned());
    assert_eq!(parse_device("chardev:mon0", &kinds), Ok(existing));
    for text in [
        "nosuch",
        "unix:",
        "tcp:80",
        "tcp:h:",
        "chardev:",
        "",
        "vc:bad",
        "vc:80Cx24",
        "udp:h",
        "udp:h:1@x",
        "mon:nosuch",
        "COMx",
        "file:",
        "ringbuf",
        "con:",
    ] {
        let error = format!("'{text}' is not a valid char driver");
        assert_eq!(parse_device(text, &kinds).unwrap_err().to_string(), error);
    }
}

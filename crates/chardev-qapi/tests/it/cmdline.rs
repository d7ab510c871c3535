//! `-chardev` lines: what they mean as QMP, and QEMU's texts where they mean nothing.

use crate::kinds::KINDS;
use chardev_qapi::cmdline::wants_help;
use chardev_qapi::{backend_to_json, parse_backend_line, parse_chardev};

/// The QMP form of a line that has to be good.
fn qmp(text: &str) -> String {
    let line = parse_chardev(text, KINDS).unwrap_or_else(|error| panic!("{text}: {error}"));
    backend_to_json(&line.options, KINDS).to_string()
}

#[test]
fn lines_and_what_they_mean() {
    let cases = [
        ("null,id=a", r#"{"type": "null", "data": {}}"#),
        ("backend=null,id=a", r#"{"type": "null", "data": {}}"#),
        (
            "null,id=b,id=a,logappend=y",
            r#"{"type": "null", "data": {"logappend": true}}"#,
        ),
        (
            "file,id=a,path=x,,y,append=no",
            r#"{"type": "file", "data": {"out": "x,y", "append": false}}"#,
        ),
        (
            "file,id=a,path=,input-path=i",
            r#"{"type": "file", "data": {"in": "i", "out": ""}}"#,
        ),
        (
            "ringbuf,id=a,size=64K",
            r#"{"type": "ringbuf", "data": {"size": 65536}}"#,
        ),
        (
            "ringbuf,id=a,size=1.5k,path=ignored,cols=80",
            r#"{"type": "ringbuf", "data": {"size": 1536}}"#,
        ),
        (
            "ringbuf,id=a,x-closed=hold",
            r#"{"type": "ringbuf", "data": {"x-closed": "hold"}}"#,
        ),
        (
            "hub,id=a,chardevs.0=x,chardevs.1=y,chardevs.3=z",
            r#"{"type": "hub", "data": {"chardevs": ["x", "y"]}}"#,
        ),
        (
            "socket,id=a,path=/p",
            r#"{"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "/p"}}, "server": false}}"#,
        ),
        (
            "socket,id=a,path=p,abstract=on,tight=off,server=on",
            r#"{"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "p", "abstract": true, "tight": false}}, "server": true, "wait": true}}"#,
        ),
        (
            "socket,id=a,host=,port=1,to=0x10,ipv4=on,server,nowait,nodelay",
            r#"{"type": "socket", "data": {"addr": {"type": "inet", "data": {"host": "", "port": "1", "to": 16, "ipv4": true}}, "server": true, "wait": false, "nodelay": true}}"#,
        ),
        (
            "socket,id=a,fd=7,reconnect=-1,wait=off",
            r#"{"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "7"}}, "server": false, "wait": false, "reconnect": -1}}"#,
        ),
        (
            "socket,id=a,x-cid=3,port=1",
            r#"{"type": "socket", "data": {"addr": {"type": "vsock", "data": {"cid": "3", "port": "1"}}, "server": false}}"#,
        ),
        (
            "udp,id=a,port=9",
            r#"{"type": "udp", "data": {"remote": {"type": "inet", "data": {"host": "localhost", "port": "9"}}}}"#,
        ),
        (
            "udp,id=a,host=h,port=9,localaddr=l,localport=",
            r#"{"type": "udp", "data": {"remote": {"type": "inet", "data": {"host": "h", "port": "9"}}, "local": {"type": "inet", "data": {"host": "l", "port": "0"}}}}"#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(qmp(text), expected, "{text}");
    }
}

#[test]
fn errors() {
    let cases = [
        ("", "chardev: no id specified"),
        ("null", "chardev: no id specified"),
        ("id=a", "chardev: \"a\" missing backend"),
        ("null,id=1a", "Parameter 'id' expects an identifier"),
        ("null,id=", "Parameter 'id' expects an identifier"),
        ("nosuch,id=a", "'nosuch' is not a valid char driver name"),
        ("null,id=a,foo=1", "Invalid parameter 'foo'"),
        ("hub,id=a,chardevs.4=x", "Invalid parameter 'chardevs.4'"),
        (
            "null,id=a,mux=maybe",
            "Parameter 'mux' expects 'on' or 'off'",
        ),
        ("null,id=a,to=many", "Parameter 'to' expects a number"),
        (
            "null,id=a,to=99999999999999999999",
            "Value '99999999999999999999' is too large for parameter 'to'",
        ),
        (
            "null,id=a,size=-1",
            "Value '-1' is out of range for parameter 'size'",
        ),
        (
            "null,id=a,size=-1k",
            "Parameter 'size' expects a non-negative number below 2^64",
        ),
        (
            "null,id=a,size=16E",
            "Value '16E' is out of range for parameter 'size'",
        ),
        ("file,id=a", "chardev: file: no filename given"),
        ("pipe,id=a", "chardev: pipe: no device path given"),
        ("mux,id=a", "chardev: mux: no chardev given"),
        (
            "socket,id=a,path=p,host=h",
            "None or one of 'path', 'fd' or 'host' option required.",
        ),
        ("socket,id=a,host=h", "chardev: socket: no port given"),
        ("socket,id=a,x-cid=3", "chardev: socket: no port given"),
        (
            "socket,id=a,x-cid=3,port=1,fd=7",
            "'x-cid' cannot be used with 'fd'",
        ),
        (
            "socket,id=a,host=h,port=1,to=65536",
            "Parameter 'to' expects uint16_t",
        ),
        (
            "socket,id=a,fd=1,delay=on,nodelay=on",
            "'delay' and 'nodelay' are mutually exclusive",
        ),
        ("udp,id=a", "chardev: udp: remote port not specified"),
        (
            "null,id=a,x-closed=keep",
            "Parameter 'x-closed' does not accept value 'keep', only discard, hold, history",
        ),
    ];
    for (text, error) in cases {
        assert_eq!(
            parse_chardev(text, KINDS)
                .err()
                .map(|error| error.to_string())
                .as_deref(),
            Some(error),
            "{text}"
        );
    }
}

#[test]
fn mux_and_warnings() {
    let line = parse_chardev("stdio,id=con.0-a_b,mux=on,signal=off", KINDS).expect("a good line");
    assert!(line.mux);
    assert_eq!(line.id, "con.0-a_b");
    let line = parse_chardev("socket,id=a,path=p,server,nowait", KINDS).expect("a good line");
    let warnings = [
        "short-form boolean option 'server' deprecated\nPlease use server=on instead",
        "short-form boolean option 'nowait' deprecated\nPlease use wait=off instead",
    ];
    assert_eq!(line.warnings, warnings);
}

#[test]
fn help() {
    assert!(wants_help("help") && wants_help("?") && wants_help("backend=help"));
    assert!(!wants_help("null,id=help"));
}

#[test]
fn a_back_end_alone() {
    let line = parse_backend_line("pipe,path=/p", KINDS).expect("a good line");
    assert_eq!(line.options.str("device"), Some("/p"));
    let with_id = parse_backend_line("null,id=a", KINDS);
    assert_eq!(
        with_id.err().map(|error| error.to_string()).as_deref(),
        Some("Unexpected 'id' parameter")
    );
    let nothing = parse_backend_line("", KINDS);
    assert_eq!(
        nothing.err().map(|error| error.to_string()).as_deref(),
        Some("Parameter 'backend' is missing")
    );
}

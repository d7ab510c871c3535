//! `ChardevBackend` from the tables: QEMU's texts, and the way back.

use crate::kinds::KINDS;
use chardev_qapi::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev_qapi::{Json, backend_to_json, parse_backend};

fn parse(text: &str) -> Result<Options, String> {
    let parsed = parse_backend(&Json::parse(text).expect("JSON"), "backend", KINDS);
    parsed.map_err(|error| error.to_string())
}

#[test]
fn errors_in_schema_order() {
    let cases = [
        (
            "'null'",
            "Invalid parameter type for 'backend', expected: object",
        ),
        ("{}", "Parameter 'backend.type' is missing"),
        (
            "{'type':5,'data':{}}",
            "Invalid parameter type for 'backend.type', expected: string",
        ),
        (
            "{'type':'nosuch','data':{}}",
            "Parameter 'type' does not accept value 'nosuch'",
        ),
        ("{'type':'null'}", "Parameter 'backend.data' is missing"),
        (
            "{'type':'null','data':[]}",
            "Invalid parameter type for 'backend.data', expected: object",
        ),
        (
            "{'type':'null','data':{'foo':1},'yy':1}",
            "Parameter 'backend.data.foo' is unexpected",
        ),
        (
            "{'type':'null','data':{},'yy':1}",
            "Parameter 'backend.yy' is unexpected",
        ),
        (
            "{'type':'file','data':{'zz':1}}",
            "Parameter 'backend.data.out' is missing",
        ),
        (
            "{'type':'file','data':{'out':'x','append':'on','logfile':1}}",
            "Invalid parameter type for 'backend.data.logfile', expected: string",
        ),
        (
            "{'type':'file','data':{'out':'x','append':'on'}}",
            "Invalid parameter type for 'backend.data.append', expected: boolean",
        ),
        (
            "{'type':'ringbuf','data':{'size':1.0}}",
            "Invalid parameter type for 'backend.data.size', expected: integer",
        ),
        (
            "{'type':'socket','data':{}}",
            "Parameter 'backend.data.addr' is missing",
        ),
        (
            "{'type':'socket','data':{'addr':1}}",
            "Invalid parameter type for 'backend.data.addr', expected: object",
        ),
        (
            "{'type':'socket','data':{'addr':{'type':'unix','data':{}}}}",
            "Parameter 'backend.data.addr.data.path' is missing",
        ),
        (
            "{'type':'socket','data':{'addr':{'type':'ipx','data':{}}}}",
            "Parameter 'type' does not accept value 'ipx'",
        ),
        (
            "{'type':'socket','data':{'addr':{'type':'inet','data':{'host':'','port':1}}}}",
            "Invalid parameter type for 'backend.data.addr.data.port', expected: string",
        ),
        (
            "{'type':'socket','data':{'addr':{'type':'inet','data':{'host':'','port':'','to':-1}}}}",
            "Parameter 'to' expects uint16_t",
        ),
        (
            "{'type':'hub','data':{'chardevs':['a',1]}}",
            "Invalid parameter type for 'backend.data.chardevs[1]', expected: string",
        ),
        (
            "{'type':'null','data':{'x-closed':'keep'}}",
            "Parameter 'x-closed' does not accept value 'keep', only discard, hold, history",
        ),
    ];
    for (text, error) in cases {
        assert_eq!(parse(text), Err(error.to_owned()), "{text}");
    }
}

#[test]
fn there_and_back() {
    let inet = InetAddress {
        host: "::1".to_owned(),
        port: "23".to_owned(),
        to: Some(30),
        ipv4: Some(false),
        keep_alive: true,
        numeric: true,
        ..InetAddress::default()
    };
    let unix = |abstract_name, tight| SocketAddress::Unix {
        path: "/tmp/x".to_owned(),
        abstract_name,
        tight,
    };
    let vsock = SocketAddress::Vsock {
        cid: "3".to_owned(),
        port: "1024".to_owned(),
    };
    let addresses = [
        SocketAddress::Inet(inet),
        unix(false, true),
        unix(true, false),
        vsock,
        SocketAddress::Fd("name".to_owned()),
    ];
    for address in addresses {
        let options = Options::new("socket")
            .with("addr", OptionValue::Address(address))
            .with("server", OptionValue::Bool(false))
            .with("reconnect-ms", OptionValue::Int(100))
            .with("x-closed", OptionValue::Str("hold".to_owned()));
        let json = backend_to_json(&options, KINDS);
        assert_eq!(
            parse_backend(&json, "backend", KINDS),
            Ok(options),
            "{json}"
        );
    }
    let list = OptionValue::List(vec!["a".to_owned(), "b".to_owned()]);
    let options = Options::new("hub").with("chardevs", list);
    let json = backend_to_json(&options, KINDS);
    assert_eq!(
        json.to_string(),
        r#"{"type": "hub", "data": {"chardevs": ["a", "b"]}}"#
    );
    assert_eq!(parse_backend(&json, "backend", KINDS), Ok(options));
}

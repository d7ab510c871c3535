//! From options back to the command line: what comes out is read as what went in.

use crate::kinds::KINDS;
use chardev_qapi::spec::{InetAddress, OptionType, OptionValue, Options, SocketAddress};
use chardev_qapi::{Json, chardev_line, parse_backend, parse_chardev};
use proptest::prelude::*;

/// The line for what QMP asks for.
fn line(backend: &str) -> String {
    let backend = Json::parse(backend).unwrap();
    let options = parse_backend(&backend, "backend", KINDS).unwrap();
    chardev_line("a", &options, KINDS).unwrap_or_else(|why| format!("! {why}"))
}

#[test]
fn what_qmp_asks_for_is_said_with_its_defaults() {
    for (kind, data, expected) in [
        ("null", "", "null,id=a"),
        ("pty", "'path': '/run/a,b'", "pty,id=a,path=/run/a,,b"),
        ("ringbuf", "'size': 4096", "ringbuf,id=a,size=4096"),
        (
            "hub",
            "'chardevs': ['x', 'y']",
            "hub,id=a,chardevs.0=x,chardevs.1=y",
        ),
        (
            "hub",
            "'chardevs': ['1', '2', '3', '4', '5']",
            "! 'chardevs' has 5 elements, but the command line takes at most 4",
        ),
        (
            "socket",
            "'addr': {'type': 'unix', 'data': {'path': '/s'}}",
            "socket,id=a,path=/s,server=on,wait=off",
        ),
        (
            "socket",
            "'addr': {'type': 'fd', 'data': {'str': 'peer'}}, 'server': false",
            "socket,id=a,fd=peer,server=off",
        ),
        (
            "socket",
            "'addr': {'type': 'vsock', 'data': {'cid': '3', 'port': '1'}}, 'server': false",
            "socket,id=a,x-cid=3,port=1,server=off",
        ),
        (
            "socket",
            "'addr': {'type': 'inet', 'data': {'host': 'h', 'port': '1', 'mptcp': true}}",
            "socket,id=a,host=h,port=1,mptcp=on,server=on,wait=off",
        ),
        (
            "socket",
            "'addr': {'type': 'inet', 'data': {'host': 'h', 'port': '1', 'numeric': true}}",
            "! 'numeric' cannot be given on the command line",
        ),
        (
            "udp",
            "'remote': {'type': 'inet', 'data': {'host': 'h', 'port': '1'}}, 'local': {'type': 'inet', 'data': {'host': '', 'port': '2'}}",
            "udp,id=a,host=h,port=1,localaddr=,localport=2",
        ),
    ] {
        let backend = format!("{{'type': '{kind}', 'data': {{{data}}}}}");
        assert_eq!(line(&backend), expected, "{backend}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -~]{1,12}|[,=.]{1,3}|é€"
}

fn address() -> impl Strategy<Value = SocketAddress> {
    let some = any::<Option<bool>>;
    let inet = (
        text(),
        text(),
        any::<Option<u16>>(),
        some(),
        some(),
        any::<[bool; 2]>(),
    );
    prop_oneof![
        (text(), any::<bool>()).prop_map(|(path, tight)| SocketAddress::Unix {
            path,
            abstract_name: !tight,
            tight,
        }),
        text().prop_map(SocketAddress::Fd),
        inet.prop_map(|(host, port, to, ipv4, ipv6, [keep_alive, mptcp])| {
            SocketAddress::Inet(InetAddress {
                host,
                port,
                to,
                ipv4,
                ipv6,
                keep_alive,
                mptcp,
                ..InetAddress::default()
            })
        }),
    ]
}

fn value(ty: OptionType) -> BoxedStrategy<OptionValue> {
    match ty {
        OptionType::Bool => any::<bool>().prop_map(OptionValue::Bool).boxed(),
        OptionType::Int => (0i64..).prop_map(OptionValue::Int).boxed(),
        OptionType::Size => (1i64..).prop_map(OptionValue::Int).boxed(),
        OptionType::Str => text().prop_map(OptionValue::Str).boxed(),
        OptionType::Enum(words) => proptest::sample::select(words)
            .prop_map(|word| OptionValue::Str(word.to_owned()))
            .boxed(),
        OptionType::Address => address().prop_map(OptionValue::Address).boxed(),
        OptionType::StrList => proptest::collection::vec(text(), 1..=4)
            .prop_map(OptionValue::List)
            .boxed(),
    }
}

/// Any options of any kind but `udp`, whose addresses are of fewer kinds.
fn options() -> impl Strategy<Value = Options> {
    let kinds: Vec<_> = KINDS.iter().filter(|kind| kind.name != "udp").collect();
    proptest::sample::select(kinds).prop_flat_map(|kind| {
        let each: Vec<_> = kind
            .all_options()
            .map(|option| {
                let always = option.required || ["server", "wait"].contains(&option.name);
                let value = match always {
                    true => value(option.ty).prop_map(Some).boxed(),
                    false => proptest::option::weighted(0.3, value(option.ty)).boxed(),
                };
                (Just(option.name), value)
            })
            .collect();
        each.prop_map(|values| {
            let given = values
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)));
            given.fold(Options::new(kind.name), |options, (name, value)| {
                options.with(name, value)
            })
        })
    })
}

proptest! {
    #[test]
    fn a_line_means_what_it_was_made_of(options in options()) {
        let line = chardev_line("a.b-c", &options, KINDS).unwrap();
        let read = parse_chardev(&line, KINDS).map_err(|why| format!("{line}: {why}"));
        let read = read.unwrap();
        prop_assert_eq!(&read.id, "a.b-c");
        prop_assert_eq!(read.options, options, "{}", line);
        prop_assert!(read.warnings.is_empty() && !read.mux);
    }
}

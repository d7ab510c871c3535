//! What the page says that no table of a kind has, for people; the tests try each line.

use chardev::spec::OptionType;
use chardev_qapi::Json;

/// A key of the command line that is a part of an address.
pub(super) struct AddressKey {
    pub(super) key: &'static str,
    /// Its place in QMP: the option, the type of address, the member.
    pub(super) place: [&'static str; 3],
    pub(super) ty: OptionType,
    pub(super) help: &'static str,
}

const fn text(key: &'static str, place: [&'static str; 3], help: &'static str) -> AddressKey {
    let ty = OptionType::Str;
    AddressKey {
        key,
        place,
        ty,
        help,
    }
}

const fn switch(key: &'static str, place: [&'static str; 3], help: &'static str) -> AddressKey {
    AddressKey {
        ty: OptionType::Bool,
        ..text(key, place, help)
    }
}

const fn number(key: &'static str, place: [&'static str; 3], help: &'static str) -> AddressKey {
    AddressKey {
        ty: OptionType::Int,
        ..text(key, place, help)
    }
}

const IPV4: &str = "IPv4 may be used (default: what the name means)";
const IPV6: &str = "IPv6 may be used (default: what the name means)";

const STREAM: &[AddressKey] = &[
    text(
        "path",
        ["addr", "unix", "path"],
        "a Unix socket's path, or its abstract name",
    ),
    switch(
        "abstract",
        ["addr", "unix", "abstract"],
        "`path` is a name in Linux's abstract name space (default off)",
    ),
    switch(
        "tight",
        ["addr", "unix", "tight"],
        "the abstract name is no longer than it is written; off: filled up with NULs (default on)",
    ),
    text(
        "fd",
        ["addr", "fd", "str"],
        "a descriptor: its number on the daemon's own command line, its name (`getfd`) afterwards, or `/dev/fdset/SET` for a socket in a set (`add-fd`)",
    ),
    text(
        "host",
        ["addr", "inet", "host"],
        "name or address; empty for a server on all addresses",
    ),
    text(
        "port",
        ["addr", "inet", "port"],
        "number, or name of a service",
    ),
    switch("ipv4", ["addr", "inet", "ipv4"], IPV4),
    switch("ipv6", ["addr", "inet", "ipv6"], IPV6),
    switch(
        "keep-alive",
        ["addr", "inet", "keep-alive"],
        "TCP asks a peer that was silent for 60 s for a sign of life, and lets it go after 30 s more (default off); QEMU has it in QMP only",
    ),
    switch(
        "mptcp",
        ["addr", "inet", "mptcp"],
        "Multipath TCP, and TCP to a peer that does not speak it (default off); QEMU has it in QMP only",
    ),
    text(
        "x-cid",
        ["addr", "vsock", "cid"],
        "vsock: the machine's number; for a server 4294967295 means any. QEMU has it in QMP only",
    ),
    text(
        "port",
        ["addr", "vsock", "port"],
        "vsock: the port's number",
    ),
    number(
        "to",
        ["addr", "inet", "to"],
        "server: take the first port up to this one that is free",
    ),
];

/// Of clients alone.
const CLIENT: &[AddressKey] = match STREAM.split_last() {
    Some((_to, keys)) => keys,
    None => &[],
};

const DATAGRAM: &[AddressKey] = &[
    text(
        "host",
        ["remote", "inet", "host"],
        "name or address to send to (default localhost)",
    ),
    text(
        "port",
        ["remote", "inet", "port"],
        "its port, which has to be given",
    ),
    switch("ipv4", ["remote", "inet", "ipv4"], IPV4),
    switch("ipv6", ["remote", "inet", "ipv6"], IPV6),
    text(
        "localaddr",
        ["local", "inet", "host"],
        "address to receive at (default: all); for a group of IPv4 that of the interface, or the group itself",
    ),
    text(
        "localport",
        ["local", "inet", "port"],
        "port to receive at (default: any)",
    ),
];

/// The kinds that have addresses.
pub(super) const ADDRESSES: &[(&str, &[AddressKey])] =
    &[("socket", STREAM), ("x-rfc2217", CLIENT), ("udp", DATAGRAM)];

/// The keys of the addresses of a kind.
pub(super) fn address_keys(kind: &str) -> &'static [AddressKey] {
    let found = ADDRESSES.iter().find(|(name, _)| *name == kind);
    found
        .unwrap_or_else(|| panic!("lists.rs has no keys of {kind}'s addresses"))
        .1
}

/// A line of this kind with this key, and the value that QMP has for it.
pub(super) fn example(kind: &str, key: &AddressKey) -> (String, Json) {
    let (value, json) = match key.ty {
        // Those are told to QMP that are not the default.
        OptionType::Bool if key.key == "tight" => ("off", Json::Bool(false)),
        OptionType::Bool => ("on", Json::Bool(true)),
        OptionType::Int => ("9", Json::Int(9)),
        _ => ("7", Json::from("7")),
    };
    let rest = match (key.place[1], key.key) {
        ("unix", "abstract") => "path=name,",
        ("unix", "tight") => "path=name,abstract=on,",
        ("inet", "port") => "host=name,",
        ("vsock", "port") => "x-cid=7,",
        ("vsock", "x-cid") => "port=7,",
        ("inet", "host") => "port=7,",
        ("inet", _) => "host=name,port=7,",
        _ => "",
    };
    (format!("{kind},{rest}{}={value}", key.key), json)
}

/// Short spellings that a function of the kind understands.
pub(super) const SHORT: &[(&str, &[&str])] = &[
    ("parallel", &["/dev/parport0", "/dev/ppi0"]),
    ("serial", &["/dev/NAME", "COM1"]),
    (
        "socket",
        &[
            "unix:PATH",
            "tcp:HOST:PORT",
            "telnet:HOST:PORT",
            "tn3270:HOST:PORT",
            "websocket:HOST:PORT",
        ],
    ),
    (
        "udp",
        &["udp:HOST:PORT", "udp:HOST:PORT@LOCALADDR:LOCALPORT"],
    ),
];

/// What there is to say of a kind beside its options.
pub(super) const NOTES: &[(&str, &str)] = &[(
    "dbus",
    "\
| QEMU | here | who reaches the chardev |
| --- | --- | --- |
| `-display dbus` | `x-bus=session`, or nothing | programs on the bus that `DBUS_SESSION_BUS_ADDRESS` names |
| `-display dbus,addr=unix:path=/run/dbus/system_bus_socket` | `x-bus=system` | programs on the system's bus, or the one that `DBUS_SYSTEM_BUS_ADDRESS` names; a policy of that bus has to let the daemon's user own `org.qemu`, and let others send to it |
| `-display dbus,addr=ADDRESS` | `x-bus=ADDRESS` | programs on that bus |
| `-display dbus,p2p=on` | `x-bus=none` | only who is connected by QMP's `add_client` with the protocol `@dbus-display`, which works beside each of the others, too |

A policy for the system's bus is a file in `/etc/dbus-1/system.d`:

    <busconfig>
      <policy user=\"chardevd\">
        <allow own=\"org.qemu\"/>
      </policy>
      <policy group=\"consoles\">
        <allow send_destination=\"org.qemu\"/>
      </policy>
    </busconfig>
",
)];

/// A kind of QEMU's that this build does not have.
pub(super) struct Absent {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    pub(super) instead: &'static str,
    /// Whether the QEMU that the tests run has it.
    qemu_has: bool,
}

impl Absent {
    pub(super) fn qemus(&self) -> Option<&'static str> {
        self.qemu_has.then_some(self.name)
    }
}

const fn absent(name: &'static str, why: &'static str, instead: &'static str) -> Absent {
    Absent {
        name,
        why,
        instead,
        qemu_has: true,
    }
}

/// One that no QEMU 10 on Linux has.
const fn gone(name: &'static str, why: &'static str, instead: &'static str) -> Absent {
    Absent {
        qemu_has: false,
        ..absent(name, why, instead)
    }
}

pub(super) const ABSENT: &[Absent] = &[
    absent("braille", "a braille display, by BrlAPI", ""),
    absent("qemu-vdagent", "a clipboard: needs a display", ""),
    absent("spiceport", "a channel of SPICE", "`socket`"),
    absent("spicevmc", "a channel of SPICE", ""),
    gone("console", "Windows only, in QEMU as well", "`stdio`"),
    gone(
        "tty",
        "old name of `serial`, gone from QEMU since version 8",
        "`serial`",
    ),
    gone(
        "parport",
        "old name of `parallel`, gone from QEMU since version 8",
        "`parallel`",
    ),
];

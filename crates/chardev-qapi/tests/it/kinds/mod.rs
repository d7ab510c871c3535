//! Tables of kinds for tests, spelled as QEMU spells them.

use chardev_qapi::spec::{KindSpec, LineRule, OptionSpec, OptionType};

const fn option(name: &'static str, cli: &'static str, ty: OptionType) -> OptionSpec {
    OptionSpec::new(name, ty, "").key(cli)
}

const fn required(
    name: &'static str,
    cli: &'static str,
    ty: OptionType,
    missing: &'static str,
) -> OptionSpec {
    option(name, cli, ty).required_or(missing)
}

const fn kind(name: &'static str, options: &'static [OptionSpec]) -> KindSpec {
    KindSpec::new(name, "", options)
}

const RINGBUF: &[OptionSpec] = &[option("size", "size", OptionType::Size)];

const SOCKET: &[OptionSpec] = &[
    required("addr", "", OptionType::Address, ""),
    option("tls-creds", "tls-creds", OptionType::Str),
    option("server", "server", OptionType::Bool),
    option("wait", "wait", OptionType::Bool),
    option("nodelay", "nodelay", OptionType::Bool),
    option("telnet", "telnet", OptionType::Bool),
    option("reconnect", "reconnect", OptionType::Int),
    option("reconnect-ms", "reconnect-ms", OptionType::Int),
];

const SOCKET_RULES: &[LineRule] = &[
    LineRule::Implied {
        option: "server",
        value: false,
        when: None,
    },
    LineRule::Implied {
        option: "wait",
        value: true,
        when: Some("server"),
    },
    LineRule::Inverse {
        key: "delay",
        option: "nodelay",
    },
];

/// Kinds with every type of option there is.
pub(crate) const KINDS: &[&KindSpec] = &[
    &kind("null", &[]),
    &kind(
        "file",
        &[
            option("in", "input-path", OptionType::Str),
            required(
                "out",
                "path",
                OptionType::Str,
                "chardev: file: no filename given",
            ),
            option("append", "append", OptionType::Bool),
        ],
    ),
    &kind(
        "pipe",
        &[required(
            "device",
            "path",
            OptionType::Str,
            "chardev: pipe: no device path given",
        )],
    ),
    &KindSpec {
        line: SOCKET_RULES,
        ..kind("socket", SOCKET)
    },
    &kind(
        "udp",
        &[
            required("remote", "", OptionType::Address, ""),
            option("local", "", OptionType::Address),
        ],
    ),
    &kind("pty", &[option("path", "path", OptionType::Str)]),
    &kind("stdio", &[option("signal", "signal", OptionType::Bool)]),
    &kind(
        "mux",
        &[required(
            "chardev",
            "chardev",
            OptionType::Str,
            "chardev: mux: no chardev given",
        )],
    ),
    &kind(
        "hub",
        &[required("chardevs", "chardevs", OptionType::StrList, "")],
    ),
    &kind("ringbuf", RINGBUF),
    &kind("memory", RINGBUF),
    &kind(
        "x-test",
        &[option(
            "x-mode",
            "x-mode",
            OptionType::Enum(&["fast", "slow"]),
        )],
    ),
];

//! The keys of a configuration: one table a section. The reader, its hints and the JSON schema
//! follow from them.
//!
//! To add one, add a line here, and what it means in `console.rs`.

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Number,
    Switch,
    /// A number of bytes, or text such as `64K`.
    Size,
    /// One text or a list of them.
    Texts,
    /// A back end: QEMU's spelling, or a table with `kind` and its options.
    Backend,
    /// The value of this option of this kind of back end, or a table of the kind's options.
    Kind(&'static str, &'static str),
    /// The value of this option of this kind of device, or a table of the kind's options.
    Device(&'static str, &'static str),
    /// A table of the options of all chardevs that say what becomes of output.
    Policy,
    /// A text that stands for the first of these keys, or a table of them.
    Keys(&'static [Key]),
}

/// A key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) help: &'static str,
}

const fn key(name: &'static str, shape: Shape, help: &'static str) -> Key {
    Key { name, shape, help }
}

/// Where a console comes from: one of these.
pub(super) const SOURCES: [&str; 6] = [
    "exec",
    "serial",
    "socket",
    "vhost-user",
    "vfio-user",
    "from",
];

/// The keys of a console, and of `[defaults]` and templates.
pub(super) const CONSOLE: &[Key] = &[
    key(
        "exec",
        Shape::Texts,
        "the program behind the console: a line for sh -c, or a list of words",
    ),
    key(
        "cwd",
        Shape::Text,
        "exec: the directory to run it in (default: the daemon's)",
    ),
    key(
        "restart",
        Shape::Switch,
        "exec: start it again when it ends (default true)",
    ),
    key(
        "tell-end",
        Shape::Switch,
        "exec: write a line to the console when it ends (default false)",
    ),
    key(
        "serial",
        Shape::Kind("serial", "path"),
        "the serial port behind the console: its device, or a table of options of the kind serial",
    ),
    key(
        "baud",
        Shape::Number,
        "serial: bits per second (default 115200)",
    ),
    key(
        "socket",
        Shape::Kind("socket", "path"),
        "the socket behind the console, which we connect to: HOST:PORT, the path of a Unix socket, or a table of options of the kind socket",
    ),
    key(
        "vhost-user",
        Shape::Device("vhost-user-console", "socket"),
        "the guest behind the console: the path of the vhost-user socket, or a table of options of the device vhost-user-console",
    ),
    key(
        "vfio-user",
        Shape::Device("vfio-user-serial", "socket"),
        "the guest behind the console: the path of the vfio-user socket, or a table of options of the device vfio-user-serial",
    ),
    key(
        "from",
        Shape::Backend,
        "any other back end on the far side of the console",
    ),
    key(
        "to",
        Shape::Backend,
        "where the console goes (default: ringbuf,size=64K, whose content the next peer gets)",
    ),
    key(
        "log",
        Shape::Keys(LOG),
        "the file that output is copied to, or a table",
    ),
    key(
        "history",
        Shape::Size,
        "bytes of output to keep for viewers (default 64K)",
    ),
    key(
        "policy",
        Shape::Policy,
        "what becomes of output without a peer, and so on: options of all chardevs",
    ),
    key("groups", Shape::Texts, "the groups that the console is in"),
    key("description", Shape::Text, "a line about it, for people"),
    key(
        "enabled",
        Shape::Switch,
        "whether it is there at all (default true)",
    ),
];

/// The keys of a log.
pub(super) const LOG: &[Key] = &[
    key("file", Shape::Text, "the file"),
    key("append", Shape::Switch, "append to the file (default true)"),
    key("size", Shape::Size, "size at which the file is rotated"),
    key(
        "count",
        Shape::Number,
        "how many old files to keep (default 1)",
    ),
    key(
        "index",
        Shape::Text,
        "index file: offset and time of each line",
    ),
    key(
        "full",
        Shape::Text,
        "hole (the default) or hold: what happens while it cannot be written",
    ),
];

/// What else a `[console.NAME]` takes.
pub(super) const MORE_OF_CONSOLE: &[Key] = &[
    key("template", Shape::Text, "the template that says the rest"),
    key("port", Shape::Number, "what {port} stands for"),
];

/// What else `[[lines]]` take.
pub(super) const MORE_OF_LINES: &[Key] = &[
    key(
        "template",
        Shape::Text,
        "the template that the consoles are made of",
    ),
    key(
        "names",
        Shape::Texts,
        "the names of the consoles; rack[01-48] stands for 48 of them",
    ),
    key(
        "port",
        Shape::Number,
        "what {port} stands for in the first one; it counts up",
    ),
    key(
        "n",
        Shape::Number,
        "what {n} stands for in the first one; it counts up (default 1)",
    ),
];

/// What `[[monitor]]` takes.
pub(super) const MONITOR: &[Key] = &[
    key(
        "listen",
        Shape::Backend,
        "where it listens: unix:PATH, tcp:HOST:PORT, chardev:ID, or a back end",
    ),
    key(
        "mode",
        Shape::Text,
        "control (QMP, the default) or readline (for people)",
    ),
    key(
        "pretty",
        Shape::Switch,
        "whether QMP is indented (default false)",
    ),
    key(
        "role",
        Shape::Text,
        "the most that its clients may do: view, attach, change or admin (the default)",
    ),
    key(
        "auth",
        Shape::Text,
        "required (the default of sockets, unless the role is view or attach), or ANYBODY-MAY-DO-EVERYTHING",
    ),
];

/// What `[tokens]` takes.
pub(super) const TOKENS: &[Key] = &[key(
    "file",
    Shape::Text,
    "where they are kept (default: tokens in the state directory)",
)];

/// What `[daemon]` takes.
pub(super) const DAEMON: &[Key] = &[key(
    "io-threads",
    Shape::Number,
    "how many threads may serve consoles that are added from then on, as --io-threads, which counts more (default: the CPUs, up to 4)",
)];

/// What `[[access]]` takes.
pub(super) const ACCESS: &[Key] = &[
    key("role", Shape::Text, "view, attach, change or admin"),
    key(
        "users",
        Shape::Texts,
        "whose it is, by names or numbers; everybody's without these, unix-groups and tls-subjects",
    ),
    key(
        "unix-groups",
        Shape::Texts,
        "the members of these groups have it",
    ),
    key(
        "tls-subjects",
        Shape::Texts,
        "whose it is, by a name in their verified certificate: CN=ann,O=lab or DNS:laptop.example",
    ),
    key(
        "consoles",
        Shape::Texts,
        "for these consoles; for everything without these and groups",
    ),
    key("groups", Shape::Texts, "for the consoles of these groups"),
];

/// What `[metrics]` takes.
pub(super) const METRICS: &[Key] = &[key(
    "listen",
    Shape::Text,
    "where they are served over HTTP: HOST:PORT, or unix:PATH",
)];

/// What `[web]` takes.
pub(super) const WEB: &[Key] = &[
    key(
        "listen",
        Shape::Text,
        "where the page is served: HOST:PORT, or unix:PATH for a server in front",
    ),
    key(
        "mode",
        Shape::Text,
        "who may connect to unix:PATH, as for chmod (default 0600)",
    ),
    key(
        "group",
        Shape::Text,
        "the group of unix:PATH, by its name or number (default the daemon's)",
    ),
    key(
        "hosts",
        Shape::Texts,
        "by which names browsers may ask for it, beside its address and localhost",
    ),
    key(
        "connections",
        Shape::Number,
        "how many connections there may be (default 256)",
    ),
    key(
        "proxy",
        Shape::Keys(PROXY),
        "the server in front of this one that says who asks, a table",
    ),
    key(
        "tls",
        Shape::Keys(WEB_TLS),
        "the certificates with which the page is served over TLS, a table",
    ),
];

/// What `[fleet]` takes.
pub(super) const FLEET: &[Key] = &[
    key(
        "servers",
        Shape::Texts,
        "the servers: nats://HOST:PORT or tls://HOST:PORT, of which one is enough",
    ),
    key(
        "cluster",
        Shape::Text,
        "the cluster that this host is in, part of all subjects (default: default)",
    ),
    key(
        "host",
        Shape::Text,
        "what this host is called there (default: its name)",
    ),
    key(
        "credentials",
        Shape::Text,
        "a file with a JWT and its key, as nsc makes it",
    ),
    key(
        "nkey",
        Shape::Text,
        "a file with the seed of an nkey, instead",
    ),
    key(
        "reader-credentials",
        Shape::Text,
        "the same for who looks at other hosts in this one's name, for the fleet on its web page (default: who publishes)",
    ),
    key(
        "reader-nkey",
        Shape::Text,
        "a file with the seed of that one's nkey, instead",
    ),
    key(
        "ca",
        Shape::Text,
        "who has signed the servers' certificates, as PEM, beside those that the system knows",
    ),
    key(
        "stream",
        Shape::Keys(FLEET_STREAM),
        "the stream that output goes to: its name, or a table",
    ),
    key(
        "qmp",
        Shape::Text,
        "the most that whoever comes over the fleet may do here: view, attach, change or admin \
         (default: nobody is served there)",
    ),
    key(
        "presence",
        Shape::Text,
        "after how long this host counts as down once it is not heard of: 30s, 2m, 0s for a host that does not say whether it is up (default 30s)",
    ),
];

/// The keys of a fleet's stream. All but the first two are for one that is made.
pub(super) const FLEET_STREAM: &[Key] = &[
    key(
        "name",
        Shape::Text,
        "its name (default: CHARDEV_ and the cluster in capitals)",
    ),
    key(
        "create",
        Shape::Switch,
        "make it if it is not there (default true); one that is there stays as it is",
    ),
    key(
        "max-age",
        Shape::Text,
        "how long output is kept: 12h, 30d, 8w, 0s for ever (default 7d)",
    ),
    key(
        "max-bytes",
        Shape::Size,
        "how much is kept of all (default: what the server allows)",
    ),
    key(
        "replicas",
        Shape::Number,
        "how many servers have it: 1 (the default), 3 or 5",
    ),
    key(
        "compress",
        Shape::Switch,
        "compress it on disk (default true)",
    ),
    key(
        "tags",
        Shape::Texts,
        "keep it on servers that have all of these tags (default: on any)",
    ),
];

/// The files of TLS.
pub(super) const WEB_TLS: &[Key] = &[
    key(
        "cert",
        Shape::Text,
        "the certificate that is shown, as PEM, with those it rests on",
    ),
    key("key", Shape::Text, "its key, as PEM"),
    key(
        "client-ca",
        Shape::Text,
        "who signs the certificates by which browsers are let in, as PEM",
    ),
];

/// The keys of a proxy.
pub(super) const PROXY: &[Key] = &[
    key(
        "from",
        Shape::Texts,
        "the addresses it connects from; from anywhere else its header is refused",
    ),
    key(
        "users",
        Shape::Texts,
        "whose process it is, by names or numbers, where it connects to unix:PATH (default all who may connect)",
    ),
    key(
        "header",
        Shape::Text,
        "the header in which it names a user of this host (default X-Remote-User)",
    ),
];

/// The sections, and what each is for. `chardev`, `device` and `object` take `line`, or a table
/// in which this key says the kind.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    (
        "defaults",
        "what all consoles have that do not say otherwise",
    ),
    (
        "template",
        "[template.NAME]: what consoles have that are made of it",
    ),
    ("console", "[console.NAME]: a console"),
    ("lines", "[[lines]]: many consoles of one template"),
    (
        "chardev",
        "[chardev.ID]: a chardev of its own, in QEMU's terms",
    ),
    ("device", "[[device]]: a device, in QEMU's terms"),
    (
        "object",
        "[[object]]: TLS credentials or an authorization list, in QEMU's terms",
    ),
    (
        "access",
        "[[access]]: who may what; without any, whoever can connect may do everything",
    ),
    ("monitor", "[[monitor]]: a monitor"),
    ("metrics", "metrics for Prometheus"),
    (
        "tokens",
        "tokens that clients may present, which chardevctl token makes",
    ),
    ("web", "a web page with the consoles"),
    ("fleet", "NATS servers that output is sent to"),
    ("daemon", "what concerns the daemon as a whole"),
];

/// The key that says the kind of a raw section's table.
pub(super) fn kind_key(section: &str) -> &'static str {
    match section {
        "device" => "driver",
        "object" => "qom-type",
        _ => "kind",
    }
}

/// Reads `64K`, with the letters that QEMU has.
pub(super) fn size(text: &str) -> Option<i64> {
    chardev_qapi::opts::parse_size("size", text).ok()
}

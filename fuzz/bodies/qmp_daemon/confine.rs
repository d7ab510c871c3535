//! What a command may do when it is carried out: everything, but inside the world of this test.
//!
//! Paths lead into a directory of the test's own, addresses to the loopback and to sockets of the
//! test's own, sizes and times are small. An option that is not known here stops the test, so that
//! nobody adds one without saying what it may touch.

use chardev::spec::{InetAddress, OptionType, OptionValue, Options, SocketAddress};
use chardev_qapi::Json;
use chardev_qmp::{ChardevAction, Command};

use super::world::World;

/// The largest ring, history or log.
const LARGE: i64 = 128 << 10;
/// How many chardevs there are at most.
const MANY: usize = 24;
/// How long a replaced back end waits for its peer, so that inputs do not pile up.
const DRAIN_MS: i64 = 30;

const KINDS: [&str; 19] = [
    "null",
    "ringbuf",
    "memory",
    "msmouse",
    "mux",
    "hub",
    "dbus",
    "file",
    "parallel",
    "pipe",
    "pty",
    "serial",
    "socket",
    "stdio",
    "testdev",
    "udp",
    "vc",
    "wctablet",
    "x-rfc2217",
];
/// Options that name a file.
const PATHS: [&str; 6] = ["out", "in", "device", "path", "logfile", "x-logindex"];
/// Text that names nothing outside: ids, words, and what this build refuses.
const TEXTS: [&str; 11] = [
    "chardev",
    "name",
    "x-bus",
    "x-closed",
    "x-log-full",
    "x-half-close",
    "x-parity",
    "x-flow",
    "x-rs485-rts",
    "tls-creds",
    "tls-authz",
];
/// Options with a number, and how large it may be.
const NUMBERS: [(&str, i64); 20] = [
    ("size", LARGE),
    ("x-history", LARGE),
    ("x-logsize", LARGE),
    ("x-logcount", 8),
    ("x-drain-ms", DRAIN_MS),
    ("reconnect", i64::MAX),
    ("reconnect-ms", i64::MAX),
    ("x-clients", i64::MAX),
    ("x-reconnect-ms", i64::MAX),
    ("x-handshake-ms", 100),
    ("x-settle-ms", 20),
    ("width", 800),
    ("height", 600),
    ("cols", 100),
    ("rows", 40),
    ("x-baud", i64::MAX),
    ("x-databits", i64::MAX),
    ("x-stopbits", i64::MAX),
    ("x-rs485-before-ms", i64::MAX),
    ("x-rs485-after-ms", i64::MAX),
];

/// Every kind and option of this build is known here.
pub(super) fn check_tables() {
    for spec in chardev::back::specs() {
        let kind = spec.name;
        assert!(
            KINDS.contains(&kind),
            "confine.rs does not know the kind {kind}"
        );
        for option in spec.all_options() {
            let name = option.name;
            let known = match option.ty {
                OptionType::Str | OptionType::Enum(_) => {
                    PATHS.contains(&name) || TEXTS.contains(&name)
                }
                OptionType::Int | OptionType::Size => {
                    NUMBERS.iter().any(|(known, _)| *known == name)
                }
                OptionType::Address => ["addr", "local", "remote"].contains(&name),
                OptionType::Bool | OptionType::StrList => true,
            };
            assert!(
                known,
                "confine.rs does not know the option {name} of the kind {kind}"
            );
        }
    }
}

/// The command, with everything that it names inside `world`.
pub(super) fn command(command: Command, world: &World) -> Result<Command, &'static str> {
    let many = world.server.chardevs().list().len() >= MANY;
    let add = |options| match many {
        true => Err("there are enough chardevs"),
        false => backend(options, world),
    };
    Ok(match command {
        Command::ChardevAdd { id, options } => Command::ChardevAdd {
            id,
            options: add(options)?,
        },
        Command::ChardevChange { id, options } => Command::ChardevChange {
            id,
            options: backend(options, world)?,
        },
        Command::XChardevTransaction { actions } => {
            let actions = actions.into_iter().map(|action| {
                Ok(match action {
                    ChardevAction::Add { id, options } => ChardevAction::Add {
                        id,
                        options: add(options)?,
                    },
                    ChardevAction::Change { id, options } => ChardevAction::Change {
                        id,
                        options: backend(options, world)?,
                    },
                    remove @ ChardevAction::Remove { .. } => remove,
                })
            });
            Command::XChardevTransaction {
                actions: actions.collect::<Result<_, &'static str>>()?,
            }
        }
        Command::XChardevSet { id, mut policy } => {
            numbers(&mut policy);
            Command::XChardevSet { id, policy }
        }
        Command::Own {
            name,
            mut arguments,
        } => {
            // A picture, and what objects read.
            for member in ["filename", "dir"] {
                if let Some(path) = arguments.get(member).and_then(Json::as_str) {
                    let inside = path_inside(path, world);
                    arguments.insert(member, inside);
                }
            }
            Command::Own { name, arguments }
        }
        // `quit` too: it only answers, since ending is for the monitor.
        other => other,
    })
}

fn backend(mut options: Options, world: &World) -> Result<Options, &'static str> {
    if options.kind() == "stdio" && !world.owns_stdio {
        return Err("standard input and output are somebody else's");
    }
    for name in PATHS {
        if let Some(path) = options.str(name) {
            let inside = path_inside(path, world);
            options.set(name, OptionValue::Str(inside));
        }
    }
    for name in ["addr", "local", "remote"] {
        if let Some(found) = options.address(name).cloned() {
            let listens = match name {
                "addr" => options.kind() == "socket" && options.bool_or("server", true),
                other => other == "local",
            };
            let is_udp = name != "addr";
            let inside = address(found, listens, is_udp, world)?;
            options.set(name, OptionValue::Address(inside));
        }
    }
    if options.kind() == "dbus" {
        // A bus would be somebody else's.
        options.set("x-bus", OptionValue::Str("none".to_owned()));
    }
    if options.int("x-drain-ms").is_none() {
        options.set("x-drain-ms", OptionValue::Int(DRAIN_MS));
    }
    numbers(&mut options);
    Ok(options)
}

fn numbers(options: &mut Options) {
    for (name, limit) in NUMBERS {
        if let Some(number) = options.int(name) {
            options.set(name, OptionValue::Int(number.min(limit)));
        }
    }
}

/// Sets of descriptors and two harmless devices are what they are; `tty` is a terminal of ours.
fn path_inside(path: &str, world: &World) -> String {
    if path.starts_with("/dev/fdset/") || ["/dev/null", "/dev/full"].contains(&path) {
        return path.to_owned();
    }
    let name = plain(path);
    match name.as_str() {
        "tty" => world.tty.clone(),
        _ => world.file(&name),
    }
}

/// The last part of a path, or what can be kept of it.
fn plain(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let kept = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let name: String = last.chars().filter(kept).take(120).collect();
    match name.chars().all(|c| c == '.') {
        true => String::new(),
        false => name,
    }
}

fn address(
    address: SocketAddress,
    listens: bool,
    is_udp: bool,
    world: &World,
) -> Result<SocketAddress, &'static str> {
    Ok(match address {
        SocketAddress::Unix {
            path,
            abstract_name: true,
            tight,
        } => SocketAddress::Unix {
            path: world.abstract_name(&plain(&path)),
            abstract_name: true,
            tight,
        },
        SocketAddress::Unix { path, tight, .. } => SocketAddress::Unix {
            path: world.file(&plain(&path)),
            abstract_name: false,
            tight,
        },
        SocketAddress::Inet(inet) => {
            let port = match (listens, is_udp) {
                (true, _) => 0,
                (false, true) => world.udp_port,
                (false, false) if inet.port.len() % 2 == 0 => world.tcp_port,
                (false, false) => world.refusing_port,
            };
            let loopback = match listens && inet.host.contains(':') {
                true => "::1",
                false => "127.0.0.1",
            };
            SocketAddress::Inet(InetAddress {
                host: loopback.to_owned(),
                port: port.to_string(),
                ..inet
            })
        }
        SocketAddress::Vsock { .. } => return Err("there is no other machine"),
        fd @ SocketAddress::Fd(_) => fd,
    })
}

//! One console of conserver's: what its keywords mean here.

use super::conserver::Said;
use super::output::{Console, inline, quoted};
use super::substitute::{Values, substitute};

/// Keywords that have no place here, and why.
const LEFT_OUT: [(&str, &str); 20] = [
    ("aliases", "a console has one name"),
    (
        "break",
        "a break here is a break, sent by 'chardevctl break'",
    ),
    (
        "breaklist",
        "a break here is a break, sent by 'chardevctl break'",
    ),
    (
        "execrunas",
        "programs run as the daemon's user; use setpriv or runuser in the command",
    ),
    ("idlestring", "nothing is sent by itself"),
    ("idletimeout", "nothing is sent by itself"),
    ("initcmd", "nothing is run on a console but its own program"),
    ("initdelay", "consoles are opened side by side"),
    (
        "initrunas",
        "nothing is run on a console but its own program",
    ),
    (
        "initspinmax",
        "a program is started again after a second at the earliest",
    ),
    (
        "initspintimer",
        "a program is started again after a second at the earliest",
    ),
    (
        "initsubst",
        "nothing is run on a console but its own program",
    ),
    (
        "ipmiciphersuite",
        "there is no IPMI; run ipmitool sol as a program",
    ),
    ("ipmikg", "there is no IPMI; run ipmitool sol as a program"),
    (
        "ipmiprivlevel",
        "there is no IPMI; run ipmitool sol as a program",
    ),
    (
        "ipmiworkaround",
        "there is no IPMI; run ipmitool sol as a program",
    ),
    ("replstring", "text is not replaced"),
    (
        "ro",
        "who may use a console is who may open the monitor's socket",
    ),
    (
        "rw",
        "who may use a console is who may open the monitor's socket",
    ),
    ("tasklist", "there are no tasks"),
];

/// What is left out of values that say nothing.
const NOTHING: [(&str, &str); 2] = [("rw", "*"), ("ro", "*")];

/// Makes a console of ours of what is said about `name`.
pub(super) fn convert(name: &str, said: &Said) -> Console {
    let mut console = Console::new(name);
    let get = |keyword: &str| said.get(keyword).map(String::as_str).unwrap_or_default();
    source(&mut console, name, said);
    let log = get("logfile").replace('&', "{name}");
    if !log.is_empty() && log != "/dev/null" {
        match size(get("logfilemax")) {
            Some(size) => {
                let entries = [("file", quoted(&log)), ("size", quoted(&size))];
                console.set_raw("log", inline(&entries));
            }
            None => console.set("log", &log),
        }
    }
    if !matches!(get("timestamp"), "" | "0") && !log.is_empty() {
        let stamp = get("timestamp");
        console.note(format!(
            "timestamp {stamp}: logs have no lines of ours; log = {{ file = …, index = … }} has \
             the time of each line beside it"
        ));
    }
    if !get("motd").is_empty() {
        console.set("description", get("motd"));
    }
    let master = get("master");
    if !["", "localhost", "127.0.0.1", "::1"].contains(&master) {
        console.note(format!(
            "master {master}: it belongs to the daemon of that host"
        ));
    }
    for (keyword, why) in LEFT_OUT {
        let value = get(keyword);
        if !value.is_empty() && !NOTHING.contains(&(keyword, value)) {
            console.note(format!("{keyword} {value}: {why}"));
        }
    }
    console
}

fn source(console: &mut Console, name: &str, said: &Said) {
    let get = |keyword: &str| said.get(keyword).map(String::as_str).unwrap_or_default();
    let number = |keyword: &str, default| get(keyword).parse().unwrap_or(default);
    let port = number("port", 0);
    let values = Values {
        name,
        host: get("host"),
        port,
        final_port: number("portbase", 0).saturating_add(number("portinc", 1).saturating_mul(port)),
    };
    let filled = |console: &mut Console, keyword: &str, rules: &str| {
        substitute(get(keyword), get(rules), &values).unwrap_or_else(|why| {
            console.note(format!("{why} is left out: it is none we know"));
            get(keyword).to_owned()
        })
    };
    let kind = match get("type") {
        // conserver guesses as well.
        "" if !get("exec").is_empty() => "exec",
        "" if !get("device").is_empty() => "device",
        "" if !get("host").is_empty() => "host",
        kind => kind,
    };
    match kind {
        "exec" => match filled(console, "exec", "execsubst").as_str() {
            "" => console.set("exec", "exec \"${SHELL:-/bin/sh}\" -l"),
            command => console.set("exec", command),
        },
        "device" => {
            let device = filled(console, "device", "devicesubst");
            serial(console, &device, said);
        }
        "host" => {
            let port = match get("port").parse::<i64>() {
                Ok(_) => quoted(&values.final_port.to_string()),
                Err(_) => quoted(get("port")),
            };
            let mut entries = vec![("host", quoted(get("host"))), ("port", port)];
            if get("protocol") != "raw" {
                entries.push(("telnet", "true".to_owned()));
            }
            console.set_raw("socket", inline(&entries));
        }
        "uds" => {
            let path = filled(console, "uds", "udssubst");
            console.set_raw("socket", inline(&[("path", quoted(&path))]));
        }
        other => {
            let why = match other {
                "ipmi" => "there is no IPMI; run ipmitool sol as a program",
                "noop" => "it comes from nowhere",
                _ => "nothing says where it comes from",
            };
            console.note(format!("type {other}: {why}"));
            console.set_raw("enabled", "false");
        }
    }
    flow(console, kind, said);
}

fn serial(console: &mut Console, device: &str, said: &Said) {
    let get = |keyword: &str| said.get(keyword).map(String::as_str).unwrap_or_default();
    let mut entries = vec![("path", quoted(device))];
    if let Ok(baud) = get("baud").parse::<u32>() {
        entries.push(("x-baud", baud.to_string()));
    }
    if let parity @ ("even" | "odd" | "mark" | "space") = get("parity") {
        entries.push(("x-parity", quoted(parity)));
    }
    let options: Vec<&str> = get("options").split(',').map(str::trim).collect();
    let last = |name: &str| {
        options
            .iter()
            .rev()
            .find(|it| it.trim_start_matches('!') == name)
    };
    let is_on = |name: &str, default| last(name).map_or(default, |it| !it.starts_with('!'));
    if is_on("cstopb", false) {
        entries.push(("x-stopbits", "2".to_owned()));
    }
    // Its default is XON/XOFF both ways.
    let flow = match (
        is_on("crtscts", false),
        is_on("ixon", true) && is_on("ixoff", true),
    ) {
        (true, _) => Some("rtscts"),
        (false, true) => Some("xonxoff"),
        (false, false) => None,
    };
    entries.extend(flow.map(|flow| ("x-flow", quoted(flow))));
    console.set_raw("serial", inline(&entries));
}

/// Options that are not about the line.
fn flow(console: &mut Console, kind: &str, said: &Said) {
    let options = said.get("options").map(String::as_str).unwrap_or_default();
    for option in options.split(',').map(str::trim) {
        let why = match option {
            "ondemand" => "a console is open whether or not somebody has come",
            "striphigh" => "bytes go through as they are",
            "!autoreinit" if kind == "exec" => {
                console.set_raw("restart", "false");
                continue;
            }
            "unloved" => "messages of the daemon hold no output",
            "!login" => "everybody who may use the monitor may attach",
            "hupcl" | "ixany" => "the device decides",
            _ => continue,
        };
        console.note(format!("options {option}: {why}"));
    }
}

/// A size such as `1m`, as ours; `None` for none.
fn size(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let letter = text[digits.len()..].to_ascii_uppercase();
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0)?;
    Some(format!("{number}{letter}"))
}

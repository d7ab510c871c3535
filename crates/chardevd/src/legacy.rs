//! QEMU's short device strings, as `--qmp` and `--monitor` take them: `unix:PATH,…`, `stdio` and so on.

/// What a device string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Legacy {
    /// A chardev that exists.
    Existing(String),
    /// A new one, in the grammar of `--chardev` without its id. `mon:` in front of a string asks
    /// for `mux=on`.
    New(String),
}

/// Kinds that are asked for by their name alone.
const BARE: [&str; 8] = [
    "null", "pty", "stdio", "msmouse", "wctablet", "braille", "testdev", "vc",
];

/// Reads a device string. Whether there is such a kind here is for the grammar to say.
///
/// # Errors
/// QEMU's text for one that it does not know.
pub fn parse(text: &str) -> Result<Legacy, String> {
    if let Some(id) = text.strip_prefix("chardev:").filter(|id| !id.is_empty()) {
        return Ok(Legacy::Existing(id.to_owned()));
    }
    let line = match text.strip_prefix("mon:") {
        // A person at the monitor may well press ^C.
        Some("stdio") => Some("stdio,mux=on,signal=off".to_owned()),
        Some(inner) => line(inner).map(|line| format!("{line},mux=on")),
        None => line(text),
    };
    let line = line.ok_or_else(|| format!("'{text}' is not a valid char driver"))?;
    Ok(Legacy::New(line))
}

fn line(text: &str) -> Option<String> {
    if BARE.contains(&text) {
        return Some(text.to_owned());
    }
    if text.starts_with("/dev/parport") || text.starts_with("/dev/ppi") {
        return Some(format!("parallel,path={}", doubled(text)));
    }
    // This includes a descriptor from a set.
    if text.starts_with("/dev/") || is_com(text) {
        return Some(format!("serial,path={}", doubled(text)));
    }
    let Some((kind, rest)) = text.split_once(':') else {
        // QEMU does not look at what follows.
        return text.starts_with("vc").then(|| "vc".to_owned());
    };
    match kind {
        "unix" if !rest.is_empty() => Some(format!("socket,path={rest}")),
        "tcp" => socket(rest, ""),
        "telnet" => socket(rest, ",telnet=on"),
        "tn3270" => socket(rest, ",tn3270=on"),
        "websocket" => socket(rest, ",websocket=on"),
        "udp" => udp(rest),
        "file" | "pipe" | "pty" if !rest.is_empty() => {
            Some(format!("{kind},path={}", doubled(rest)))
        }
        "vc" => vc(rest),
        _ => None,
    }
}

/// `[HOST]:PORT[,OPTION…]`; an address of IPv6 stands in brackets.
fn socket(rest: &str, extra: &str) -> Option<String> {
    let (address, options) = match rest.find(',') {
        Some(comma) => rest.split_at(comma),
        None => (rest, ""),
    };
    let (host, port) = host_and_port(address)?;
    Some(format!("socket,host={host},port={port}{extra}{options}"))
}

/// `[HOST]:PORT[@[HOST]:PORT]`
fn udp(rest: &str) -> Option<String> {
    let (remote, local) = match rest.split_once('@') {
        Some((remote, local)) => (remote, Some(local)),
        None => (rest, None),
    };
    let (host, port) = host_and_port(remote)?;
    let mut line = format!("udp,host={host},port={port}");
    if let Some((host, port)) = local
        .map(host_and_port)
        .map_or(Some(None), |it| it.map(Some))?
    {
        line.push_str(&format!(",localaddr={host},localport={port}"));
    }
    Some(line)
}

fn host_and_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let fits = host.len() <= 64 && !port.is_empty() && port.len() <= 32;
    fits.then_some((host, port))
}

/// `800x600` in pixels, `80Cx24C` in characters.
fn vc(size: &str) -> Option<String> {
    let (width, height) = size.split_once('x')?;
    let chars = width.strip_suffix('C').zip(height.strip_suffix('C'));
    let (width, height, keys) = match chars {
        Some((cols, rows)) => (cols, rows, ("cols", "rows")),
        None => (width, height, ("width", "height")),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(width) && is_number(height))
        .then(|| format!("vc,{}={width},{}={height}", keys.0, keys.1))
}

fn is_com(text: &str) -> bool {
    text.strip_prefix("COM")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The whole of the text is the path, commas and all.
fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_strings_become_chardev_lines() {
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
            assert_eq!(parse(text), Ok(Legacy::New(line.to_owned())), "{text}");
        }
        let existing = Legacy::Existing("mon0".to_owned());
        assert_eq!(parse("chardev:mon0"), Ok(existing));
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
            assert_eq!(parse(text), Err(error));
        }
    }
}

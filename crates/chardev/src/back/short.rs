//! QEMU's short spellings of addresses: `tcp:HOST:PORT,…`, `unix:PATH,…`,
//! `udp:HOST:PORT@HOST:PORT`.

/// The line for a `socket`, in the grammar of `-chardev`.
#[cfg(feature = "socket")]
pub(super) fn socket(text: &str) -> Option<String> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "unix" if !rest.is_empty() => Some(format!("socket,path={rest}")),
        "tcp" => stream(rest, ""),
        "telnet" => stream(rest, ",telnet=on"),
        "tn3270" => stream(rest, ",tn3270=on"),
        "websocket" => stream(rest, ",websocket=on"),
        _ => None,
    }
}

/// `[HOST]:PORT[@[HOST]:PORT]` behind `udp:`.
#[cfg(feature = "udp")]
pub(super) fn udp(text: &str) -> Option<String> {
    let rest = text.strip_prefix("udp:")?;
    let (remote, local) = match rest.split_once('@') {
        Some((remote, local)) => (remote, Some(local)),
        None => (rest, None),
    };
    let (host, port) = host_and_port(remote)?;
    let mut line = format!("udp,host={host},port={port}");
    if let Some(local) = local {
        let (host, port) = host_and_port(local)?;
        line.push_str(&format!(",localaddr={host},localport={port}"));
    }
    Some(line)
}

/// `[HOST]:PORT[,OPTION…]`; an address of IPv6 stands in brackets.
#[cfg(feature = "socket")]
fn stream(rest: &str, extra: &str) -> Option<String> {
    let (address, options) = match rest.find(',') {
        Some(comma) => rest.split_at(comma),
        None => (rest, ""),
    };
    let (host, port) = host_and_port(address)?;
    Some(format!("socket,host={host},port={port}{extra}{options}"))
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

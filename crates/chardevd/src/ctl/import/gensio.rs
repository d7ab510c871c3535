//! What ser2net's stacks of gensios are here: where a console goes, and how its line is.

use super::output::quoted;

/// The words of a stack of gensios, at commas that are in no parentheses.
pub(super) fn gensios(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if c != ',' || depth > 0 => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.iter().map(|word| word.trim().to_owned()).collect()
}

/// Whether `word` is `name`, perhaps with options in parentheses.
pub(super) fn is(word: &str, name: &str) -> bool {
    word.split('(').next() == Some(name)
}

/// Where a console goes that is served by these gensios.
pub(super) fn to(gensios: &[String]) -> Result<String, &'static str> {
    let layer = gensios.first().filter(|first| is(first, "telnet"));
    let telnet = match layer {
        Some(layer) if layer.contains("rfc2217") && !layer.contains("rfc2217=false") => {
            ",x-rfc2217=on"
        }
        Some(_) => ",telnet=on",
        None => "",
    };
    let rest = &gensios[usize::from(layer.is_some())..];
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        [tcp, port] if is(tcp, "tcp") => Ok(format!("socket,host=,port={port},server=on{telnet}")),
        [tcp, host, port] if is(tcp, "tcp") => {
            Ok(format!("socket,host={host},port={port},server=on{telnet}"))
        }
        [unix, path] if is(unix, "unix") => {
            let path = path.replace(',', ",,");
            Ok(format!("socket,path={path},server=on{telnet}"))
        }
        _ => Err("there is nothing like it here"),
    }
}

/// The options that say how a line is.
pub(super) const LINE: [&str; 4] = ["x-baud", "x-parity", "x-databits", "x-stopbits"];

/// `9600N81` as options of a serial device.
pub(super) fn line(speed: &str) -> Vec<(&'static str, String)> {
    let digits = speed.trim_end_matches(|c: char| c.is_ascii_alphanumeric() && !c.is_ascii_digit());
    let at = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let (baud, rest) = speed.split_at(at);
    let mut entries = vec![("x-baud", baud.to_owned())];
    let mut letters = rest.chars();
    let parity = match letters.next().map(|c| c.to_ascii_uppercase()) {
        Some('E') => Some("even"),
        Some('O') => Some("odd"),
        Some('M') => Some("mark"),
        Some('S') => Some("space"),
        _ => None,
    };
    entries.extend(parity.map(|parity| ("x-parity", quoted(parity))));
    if let Some(bits) = letters.next().filter(|bits| ('5'..'8').contains(bits)) {
        entries.push(("x-databits", bits.to_string()));
    }
    if letters.next() == Some('2') {
        entries.push(("x-stopbits", "2".to_owned()));
    }
    entries
}

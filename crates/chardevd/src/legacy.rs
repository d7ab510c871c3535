//! QEMU's short device strings, as `--qmp` takes them: `unix:PATH,…`, `tcp:HOST:PORT,…` and so on.

/// What a device string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Legacy {
    /// A chardev that exists.
    Existing(String),
    /// A new one, in the grammar of `--chardev` without its id.
    New(String),
}

/// Reads a device string.
///
/// # Errors
/// QEMU's text for one that it does not know.
pub fn parse(text: &str) -> Result<Legacy, String> {
    let unknown = || format!("'{text}' is not a valid char driver");
    let (address, options) = match text.find(',') {
        Some(comma) => text.split_at(comma),
        None => (text, ""),
    };
    let (kind, rest) = address.split_once(':').unwrap_or((address, ""));
    let line = match (kind, rest.is_empty()) {
        ("chardev", false) => return Ok(Legacy::Existing(rest.to_owned())),
        ("unix", false) => format!("socket,path={rest}{options}"),
        ("tcp", false) => {
            let (host, port) = rest.rsplit_once(':').ok_or_else(unknown)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            format!("socket,host={host},port={port}{options}")
        }
        ("file", false) => format!("file,path={rest}{options}"),
        ("pipe", false) => format!("pipe,path={rest}{options}"),
        ("pty", false) => format!("pty,path={rest}{options}"),
        ("pty" | "stdio" | "null", true) => format!("{kind}{options}"),
        _ => return Err(unknown()),
    };
    Ok(Legacy::New(line))
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
            ("stdio", "stdio"),
            ("pty:/tmp/link", "pty,path=/tmp/link"),
        ] {
            assert_eq!(parse(text), Ok(Legacy::New(line.to_owned())), "{text}");
        }
        assert_eq!(
            parse("chardev:mon0"),
            Ok(Legacy::Existing("mon0".to_owned()))
        );
        for text in ["nosuch", "unix:", "tcp:80", "chardev:", ""] {
            assert_eq!(
                parse(text),
                Err(format!("'{text}' is not a valid char driver"))
            );
        }
    }
}

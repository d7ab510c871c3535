//! What must hold for a back end however it is spelled: its QMP form means the same.

use chardev_qapi::spec::{KindSpec, Options};
use chardev_qapi::{Json, backend_to_json, parse_backend, parse_backend_line, parse_chardev};

/// Reads `data` as a `-chardev` line, as a line without an id, and as QMP.
pub(crate) fn run(data: &[u8], kinds: &[&'static KindSpec]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(line) = parse_chardev(&text, kinds) {
        same(&line.options, kinds);
    }
    if let Ok(line) = parse_backend_line(&text, kinds) {
        same(&line.options, kinds);
    }
    if let Ok(json) = Json::parse(&text) {
        // A float without a fraction comes back as an integer, but only once.
        let again = Json::parse(&json.to_string()).expect("what is written can be read");
        assert_eq!(Json::parse(&again.to_string()).as_ref(), Ok(&again));
        if let Ok(options) = parse_backend(&json, "backend", kinds) {
            same(&options, kinds);
        }
    }
}

fn same(options: &Options, kinds: &[&'static KindSpec]) {
    let json = backend_to_json(options, kinds);
    assert_eq!(
        parse_backend(&json, "backend", kinds).as_ref(),
        Ok(options),
        "{json}"
    );
}

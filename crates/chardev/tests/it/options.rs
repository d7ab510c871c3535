//! What options are checked for, and the table of them on the front page.

use chardev::Chardevs;
use chardev::back::specs;
use chardev::spec::{COMMON_OPTIONS, OptionSpec, OptionType, OptionValue, Options};

#[test]
fn options_that_a_kind_does_not_have_are_refused() {
    let chardevs = Chardevs::new().unwrap();
    let text = |text: &str| OptionValue::Str(text.to_owned());
    for (options, why) in [
        (
            Options::new("pty").with("pth", text("/tmp/link")),
            "Parameter 'pth' is unexpected",
        ),
        (
            Options::new("pty").with("path", OptionValue::Bool(true)),
            "Invalid parameter type for 'path', expected: string",
        ),
        (
            Options::new("ringbuf").with("size", text("big")),
            "Invalid parameter type for 'size', expected: integer",
        ),
        (
            Options::new("null").with("x-closed", text("keep")),
            "Parameter 'x-closed' does not accept value 'keep', only discard, hold, history",
        ),
        (
            Options::new("nosuch"),
            "'nosuch' is not a valid char driver name",
        ),
    ] {
        let error = chardevs.blocking_add("c", &options).unwrap_err();
        assert!(error.to_string().ends_with(why), "{options:?}: {error}");
        chardevs.blocking_add("c", Options::new("null")).unwrap();
        let error = chardevs.blocking_change("c", &options).unwrap_err();
        assert!(error.to_string().ends_with(why), "{options:?}: {error}");
        chardevs.blocking_remove("c").unwrap();
    }
}

/// As the front page has it.
fn table() -> String {
    let mut text = String::new();
    let kinds = specs();
    let groups = kinds
        .iter()
        .map(|kind| (format!("`{}`: {}", kind.name, kind.summary), kind.options));
    let common = ("**All kinds**".to_owned(), COMMON_OPTIONS);
    for (title, options) in groups.chain([common]) {
        text.push_str(&format!("- {title}\n"));
        for option in options {
            text.push_str(&format!(
                "  - `{}` ({}): {}\n",
                option.name,
                kind_of(option),
                option.help
            ));
        }
    }
    // What looks like HTML would be it.
    text.replace('<', "\\<")
}

fn kind_of(option: &OptionSpec) -> String {
    let ty = match option.ty {
        OptionType::Bool => "switch".to_owned(),
        OptionType::Int => "number".to_owned(),
        OptionType::Size => "size in bytes".to_owned(),
        OptionType::Str => "text".to_owned(),
        OptionType::Enum(words) => words.join(" or "),
        OptionType::Address => "address".to_owned(),
        OptionType::StrList => "list".to_owned(),
    };
    match option.required {
        true => format!("{ty}, required"),
        false => ty,
    }
}

#[test]
fn the_front_page_has_all_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backends.md");
    let table = table();
    if std::env::var_os("CHARDEV_WRITE_TABLES").is_some() {
        std::fs::write(path, table).unwrap();
        return;
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == table,
        "src/backends.md is not what the tables say; `cargo xtask back-ends` writes it anew:\n{table}"
    );
}

/// What a program can look at, beside the words for people.
#[test]
fn why_a_back_end_did_not_open_is_more_than_words() {
    use std::error::Error as _;
    use std::io::{self, ErrorKind};

    use chardev::backends::{File, Pipe, Serial, Tcp, Unix};
    use chardev::spec::{Expected, ParameterError, Problem};
    use chardev::{AddError, AttachError, OpenError};

    let chardevs = Chardevs::new().unwrap();
    let why = |backend: Options| -> OpenError {
        match chardevs.blocking_add("c", backend).unwrap_err() {
            AddError::Open { cause, .. } => cause,
            error => panic!("{error}"),
        }
    };
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = refused.local_addr().unwrap().port();
    drop(refused);
    let address = format!("127.0.0.1:{port}");
    for (backend, object, kind) in [
        (
            File::create("/nowhere/f").into(),
            "/nowhere/f",
            ErrorKind::NotFound,
        ),
        (
            Pipe::new("/nowhere/p").into(),
            "/nowhere/p",
            ErrorKind::NotFound,
        ),
        (
            Serial::new("/nowhere/s").into(),
            "/nowhere/s",
            ErrorKind::NotFound,
        ),
        (
            Unix::connect("/nowhere/u").into(),
            "/nowhere/u",
            ErrorKind::NotFound,
        ),
        (
            Unix::listen("/nowhere/u").into(),
            "/nowhere/u",
            ErrorKind::NotFound,
        ),
        (
            Tcp::connect("127.0.0.1", port).into(),
            &*address,
            ErrorKind::ConnectionRefused,
        ),
    ] {
        let error = why(backend);
        let host = error.source().and_then(|source| source.downcast_ref());
        assert_eq!(host.map(io::Error::kind), Some(kind), "{error}");
        assert_eq!(error.object(), Some(object), "{error}");
        assert!(error.to_string().contains(object), "{error}");
    }
    // An option that is wrong is named, with what is wrong with it.
    let text = |text: &str| OptionValue::Str(text.to_owned());
    let ringbuf = || Options::new("ringbuf");
    for (backend, name, problem) in [
        (
            ringbuf().with("size", OptionValue::Int(3)),
            "size",
            Problem::OutOfRange("3".to_owned()),
        ),
        (
            ringbuf().with("size", text("3")),
            "size",
            Problem::WrongType("integer"),
        ),
        (
            ringbuf().with("pth", text("/p")),
            "pth",
            Problem::Unexpected,
        ),
        (
            ringbuf().with("x-closed", text("never")),
            "x-closed",
            Problem::NotAccepted("never".to_owned()),
        ),
        (
            ringbuf().with("x-drain-ms", OptionValue::Int(-1)),
            "x-drain-ms",
            Problem::Expects(Expected::Range(0, u32::MAX.into())),
        ),
        (
            ringbuf().with("x-logcount", OptionValue::Int(1)),
            "x-logcount",
            Problem::Conflict,
        ),
        (Options::new("mux"), "chardev", Problem::Missing),
        (Options::new("socket"), "addr", Problem::Missing),
        (
            Options::from(Unix::listen("/nowhere/u")).with("reconnect", OptionValue::Int(1)),
            "reconnect",
            Problem::Conflict,
        ),
    ] {
        let error = why(backend);
        let wrong = error.source().and_then(|source| source.downcast_ref());
        let wrong = wrong.map(|wrong: &ParameterError| (wrong.name(), wrong.problem()));
        assert_eq!(wrong, Some((name, &problem)), "{error}");
        assert_eq!(error.object(), None, "{error}");
    }
    // So is a chardev below that is not there.
    let error = why(Options::new("mux").with("chardev", text("base")));
    let below = error.source().and_then(|source| source.downcast_ref());
    let missing = AttachError::NotFound("base".to_owned());
    assert_eq!(below, Some(&missing), "{error}");
}

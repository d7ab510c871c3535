//! front → chardev → \[back\] → host: the kinds of back ends that the daemon has: the library's,
//! and `x-nats`, whose peers come by way of a fleet.

use std::time::Duration;

use chardev::OpenError;
use chardev::back::{Kind, OpenContext, Opening};
use chardev::spec::{Expected, KindSpec, OptionSpec, OptionType, Options, ParameterError};

/// The tables of all of them, for parsers and help lists.
pub fn specs() -> Vec<&'static KindSpec> {
    let mut specs = chardev::back::specs();
    specs.extend(OWN.iter().map(|kind| &kind.spec));
    specs
}

/// Those of the daemon alone.
pub(crate) static OWN: [&Kind; 1] = [&X_NATS];

static X_NATS: Kind = Kind {
    spec: KindSpec {
        properties: &[("connected", "bool")],
        ..KindSpec::new(
            "x-nats",
            "a peer by way of a fleet (feature fleet): who connects to this console, or a console of another host",
            OPTIONS,
        )
    },
    open,
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "host",
        OptionType::Str,
        "the host whose console is the peer; without it, the peer comes to this console",
    ),
    OptionSpec::new(
        "console",
        OptionType::Str,
        "the console of that host, whose back end is x-nats as well",
    ),
    OptionSpec::new(
        "reconnect-ms",
        OptionType::Int,
        "with a host: connect in the background, and again after this many milliseconds",
    ),
];

/// The longest time between two attempts to connect: a day, in milliseconds.
const LONGEST: u64 = 24 * 3600 * 1000;

/// A console of a host, and after how long it is called again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) host: String,
    pub(crate) console: String,
    pub(crate) again: Option<Duration>,
}

fn open<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async move {
        let called = called(options)?;
        crate::fleet::open(called, context).await
    })
}

/// Whom to call, if anybody.
fn called(options: &Options) -> Result<Option<Called>, OpenError> {
    let again = options.int("reconnect-ms").map(|wanted| {
        let wanted = u64::try_from(wanted).ok();
        let wanted = wanted.filter(|it| (1..=LONGEST).contains(it));
        let range = Expected::Range(1, LONGEST as i64);
        let expected = || ParameterError::expects("reconnect-ms", range);
        wanted.map(Duration::from_millis).ok_or_else(expected)
    });
    let again = again.transpose()?;
    match (options.str("host"), options.str("console")) {
        (Some(host), Some(console)) => Ok(Some(Called {
            host: host.to_owned(),
            console: console.to_owned(),
            again,
        })),
        (Some(_), None) => Err(ParameterError::missing("console").into()),
        (None, Some(_)) => Err(ParameterError::missing("host").into()),
        (None, None) if again.is_some() => Err(ParameterError::missing("host").into()),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use chardev_qapi::parse_backend_line;

    use super::*;

    fn of(line: &str) -> Result<Option<Called>, String> {
        let parsed = parse_backend_line(line, &specs()).unwrap();
        called(&parsed.options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_and_a_console_go_together() {
        let one = |again| {
            Ok(Some(Called {
                host: "h".to_owned(),
                console: "c".to_owned(),
                again,
            }))
        };
        assert_eq!(of("x-nats"), Ok(None));
        assert_eq!(of("x-nats,host=h,console=c"), one(None));
        let soon = Some(Duration::from_millis(50));
        assert_eq!(of("x-nats,host=h,console=c,reconnect-ms=50"), one(soon));
        for (line, named) in [
            ("x-nats,host=h", "console"),
            ("x-nats,console=c", "host"),
            ("x-nats,reconnect-ms=5", "host"),
            ("x-nats,host=h,console=c,reconnect-ms=0", "reconnect-ms"),
        ] {
            let said = of(line).unwrap_err();
            assert!(said.contains(named), "{line}: {said}");
        }
    }
}

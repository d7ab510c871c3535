//! front → chardev → [back] → host: what can be said of a serial device, and what it means.

use chardev_core::spec::{Expected, OptionSpec, OptionType, Options, ParameterError};
use chardev_core::{FlowControl, Line, Parity, SerialParams};

use super::rs485::Rs485;
use super::settings::Kept;

/// All of them.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "device",
        OptionType::Str,
        "the device, for example /dev/ttyS0",
    )
    .key("path")
    .path()
    .required_or("chardev: serial/tty: no device path given"),
    OptionSpec::new(
        "x-reconnect-ms",
        OptionType::Int,
        "wait for a device that is not there yet, looking at least this often; 0: never again",
    ),
    OptionSpec::new(
        "x-baud",
        OptionType::Int,
        "bits per second until the front end sets the line up, any rate that the device has (default 115200)",
    ),
    OptionSpec::new(
        "x-parity",
        OptionType::Enum(&["none", "even", "odd", "mark", "space"]),
        "parity until the front end sets the line up (default none)",
    ),
    OptionSpec::new(
        "x-databits",
        OptionType::Int,
        "data bits until the front end sets the line up, 5 to 8 (default 8)",
    ),
    OptionSpec::new(
        "x-stopbits",
        OptionType::Int,
        "stop bits until the front end sets the line up, 1 or 2 (default 1)",
    ),
    OptionSpec::new(
        "x-flow",
        OptionType::Enum(&["none", "rtscts", "xonxoff"]),
        "flow control until the front end sets it (default none)",
    ),
    OptionSpec::new(
        "x-rs485",
        OptionType::Bool,
        "the device is on an RS-485 bus, and its driver turns it round with RTS (default: as the device is)",
    ),
    OptionSpec::new(
        "x-rs485-rts",
        OptionType::Enum(&["high", "low"]),
        "what RTS is while the device sends on the bus (default: as the driver has it, or high)",
    ),
    OptionSpec::new(
        "x-rs485-before-ms",
        OptionType::Int,
        "how long the bus is driven before something is sent, 0 to 100 (default: as the driver has it)",
    ),
    OptionSpec::new(
        "x-rs485-after-ms",
        OptionType::Int,
        "how long the bus is driven after everything was sent, 0 to 100 (default: as the driver has it)",
    ),
    OptionSpec::new(
        "x-rs485-hear",
        OptionType::Bool,
        "what the device sends on the bus is also input (default: as the driver has it)",
    ),
    OptionSpec::new(
        "x-lock",
        OptionType::Bool,
        "have the device to oneself: others are refused (flock, TIOCEXCL), and so is this if another has it (default on)",
    ),
];

/// The options that a device may not take.
const NAMES: [(Kept, &str); 5] = [
    (Kept::SPEED, "x-baud"),
    (Kept::DATA_BITS, "x-databits"),
    (Kept::PARITY, "x-parity"),
    (Kept::STOP_BITS, "x-stopbits"),
    (Kept::FLOW, "x-flow"),
];

/// What is said of a device beside its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) defaults: Defaults,
    /// It is locked.
    pub(super) lock: bool,
    /// What it is on.
    pub(super) bus: Option<Rs485>,
}

impl Terms {
    /// What `options` say.
    ///
    /// # Errors
    /// As from [`Defaults::of`] and [`Rs485::of`].
    pub(super) fn of(options: &Options) -> Result<Self, ParameterError> {
        Ok(Terms {
            defaults: Defaults::of(options)?,
            lock: options.bool_or("x-lock", true),
            bus: Rs485::of(options)?,
        })
    }
}

/// How a line is as long as the front end has not set it up. What a front end sets are either all
/// four parameters at once or the flow control; each of the two stands in for what is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    params: SerialParams,
    flow: FlowControl,
    /// What the user asked for, and is not only our choice.
    given: Kept,
}

impl Defaults {
    /// What `options` say.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub(super) fn of(options: &Options) -> Result<Self, ParameterError> {
        let usual = SerialParams::USUAL;
        let speed = number(options, "x-baud", 1, u32::MAX)?;
        let data_bits = number(options, "x-databits", 5, 8)?;
        let stop_bits = number(options, "x-stopbits", 1, 2)?;
        Ok(Defaults {
            params: SerialParams {
                speed: speed.unwrap_or(usual.speed),
                // The words were looked at against the table.
                parity: match options.str("x-parity") {
                    Some("even") => Parity::Even,
                    Some("odd") => Parity::Odd,
                    Some("mark") => Parity::Mark,
                    Some("space") => Parity::Space,
                    _ => Parity::None,
                },
                data_bits: data_bits.map_or(usual.data_bits, |bits| bits as u8),
                stop_bits: stop_bits.map_or(usual.stop_bits, |bits| bits as u8),
            },
            flow: match options.str("x-flow") {
                Some("rtscts") => FlowControl::RtsCts,
                Some("xonxoff") => FlowControl::XonXoff,
                _ => FlowControl::None,
            },
            given: NAMES
                .iter()
                .filter(|(_, name)| options.get(name).is_some())
                .map(|(part, _)| *part)
                .collect(),
        })
    }

    /// The options that a device does not take which has `kept` so much of what it was, when it was
    /// set up for `line`.
    pub(super) fn refused_by(self, kept: Kept, line: &Line) -> Vec<&'static str> {
        let mut asked = self.given & kept;
        if line.serial.is_some() {
            asked &= Kept::FLOW;
        }
        if line.flow.is_some() {
            asked -= Kept::FLOW;
        }
        let refused = NAMES.iter().filter(|(part, _)| asked.contains(*part));
        refused.map(|(_, name)| *name).collect()
    }

    /// What the line is to be if the front end has said `line`.
    pub(super) fn with(self, line: &Line) -> (SerialParams, FlowControl) {
        (
            line.serial.unwrap_or(self.params),
            line.flow.unwrap_or(self.flow),
        )
    }
}

/// The number that option `name` was given.
///
/// # Errors
/// It is not between these.
pub(super) fn number(
    options: &Options,
    name: &str,
    from: u32,
    to: u32,
) -> Result<Option<u32>, ParameterError> {
    let Some(given) = options.int(name) else {
        return Ok(None);
    };
    let fits = u32::try_from(given).ok();
    let fits = fits.filter(|number| (from..=to).contains(number));
    if fits.is_none() {
        let expected = Expected::Range(from.into(), to.into());
        let text = format!("Parameter '{name}' expects {expected}, not {given}");
        return Err(ParameterError::expects(name, expected).shown_as(text));
    }
    Ok(fits)
}

//! Back ends that are ports of the host.

use std::path::Path;
use std::time::Duration;

use chardev_core::spec::{OptionValue, Options};
use chardev_core::{FlowControl, Parity};

#[cfg(feature = "parallel")]
use super::Parallel;
use super::{Serial, millis, path_value};

impl Serial {
    /// The device at `path`, such as `/dev/ttyS0` or a link in `/dev/serial/by-id`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Serial(Options::new("serial")).set("device", path_value(path))
    }

    /// Bits per second until the front end sets the line up (`x-baud`); 115,200 by default. Not
    /// only the usual ones, if the device has them.
    pub fn baud(self, speed: u32) -> Self {
        self.set("x-baud", OptionValue::Int(speed.into()))
    }

    /// The parity until the front end sets the line up (`x-parity`); none by default.
    pub fn parity(self, parity: Parity) -> Self {
        let word = match parity {
            Parity::None => "none",
            Parity::Even => "even",
            Parity::Odd => "odd",
            Parity::Mark => "mark",
            Parity::Space => "space",
        };
        self.set("x-parity", OptionValue::Str(word.to_owned()))
    }

    /// Data bits until the front end sets the line up, 5 to 8 (`x-databits`); 8 by default.
    pub fn data_bits(self, bits: u8) -> Self {
        self.set("x-databits", OptionValue::Int(bits.into()))
    }

    /// Stop bits until the front end sets the line up, 1 or 2 (`x-stopbits`); 1 by default.
    pub fn stop_bits(self, bits: u8) -> Self {
        self.set("x-stopbits", OptionValue::Int(bits.into()))
    }

    /// Flow control until the front end sets it (`x-flow`); none by default.
    pub fn flow(self, flow: FlowControl) -> Self {
        let word = match flow {
            FlowControl::None => "none",
            FlowControl::RtsCts => "rtscts",
            FlowControl::XonXoff => "xonxoff",
        };
        self.set("x-flow", OptionValue::Str(word.to_owned()))
    }

    /// The device is on an RS-485 bus, which its driver turns round with RTS (`x-rs485`). An error
    /// where the driver cannot.
    pub fn rs485(self) -> Self {
        self.set("x-rs485", OptionValue::Bool(true))
    }

    /// Whether RTS is high while the device sends on the bus (`x-rs485-rts`); as the driver has it,
    /// by default.
    pub fn rs485_rts(self, high: bool) -> Self {
        let word = if high { "high" } else { "low" };
        self.set("x-rs485-rts", OptionValue::Str(word.to_owned()))
    }

    /// How long the bus is driven before and after everything that is sent, up to 100 ms each
    /// (`x-rs485-before-ms`, `x-rs485-after-ms`); as the driver has it, by default.
    pub fn rs485_delays(self, before: Duration, after: Duration) -> Self {
        let set = self.set("x-rs485-before-ms", millis(before));
        set.set("x-rs485-after-ms", millis(after))
    }

    /// Whether what the device sends on the bus is also input (`x-rs485-hear`); as the driver has
    /// it, by default.
    pub fn rs485_hear(self, on: bool) -> Self {
        self.set("x-rs485-hear", OptionValue::Bool(on))
    }

    /// Whether others are kept from the device while it is open, and it is refused while they have
    /// it (`x-lock`); so by default.
    pub fn lock(self, on: bool) -> Self {
        self.set("x-lock", OptionValue::Bool(on))
    }
}

#[cfg(feature = "parallel")]
impl Parallel {
    /// The port at `path`, such as `/dev/parport0`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Parallel(Options::new("parallel")).set("device", path_value(path))
    }
}

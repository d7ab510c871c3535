//! front → chardev → back → [host]: a serial device on an RS-485 bus.
//!
//! Whoever sends on such a bus drives it only meanwhile. Nobody but the device's driver can turn
//! the transceiver round in time, by RTS, so it is told how (`TIOCSRS485`). Few drivers can, and
//! some of them leave out what they cannot: what became of it is read back.

use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};

use chardev_core::OpenError;
use chardev_core::spec::{Options, ParameterError};
use rustix::io::Errno;

use super::device::not_taken;
use super::options::number;
use crate::sys;

/// The kernel's `struct serial_rs485`: flags, the delay before and after, and what is for others.
type Bus = [u32; 8];

const ENABLED: u32 = 1;
const RTS_ON_SEND: u32 = 2;
const RTS_AFTER_SEND: u32 = 4;
const RX_DURING_TX: u32 = 16;

/// The longest delay in milliseconds; the kernel cuts off what is longer.
const LONGEST: u32 = 100;

/// What drivers answer that know nothing of it.
const UNKNOWN: [Errno; 4] = [Errno::NOTTY, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS];

/// The requests to the device's driver.
pub(super) trait Driver: Debug + Sync {
    fn bus(&self, device: BorrowedFd<'_>) -> Result<Bus, Errno>;
    fn set_bus(&self, device: BorrowedFd<'_>, bus: Bus) -> Result<(), Errno>;
}

#[derive(Debug)]
struct Kernel;

impl Driver for Kernel {
    fn bus(&self, device: BorrowedFd<'_>) -> Result<Bus, Errno> {
        sys::rs485(device)
    }

    fn set_bus(&self, device: BorrowedFd<'_>, bus: Bus) -> Result<(), Errno> {
        sys::set_rs485(device, bus)
    }
}

/// What a user has said of the bus. The rest is as the driver has it, from the device tree perhaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rs485 {
    on: bool,
    low: Option<bool>,
    before: Option<u32>,
    after: Option<u32>,
    hear: Option<bool>,
    pub(super) driver: &'static dyn Driver,
}

/// The device is not on the bus as it was to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its driver knows nothing of it.
    Unknown,
    /// Its driver leaves out what these options say.
    Options(Vec<&'static str>),
    Failed(Errno),
}

impl Rs485 {
    /// What `options` say; `None` leaves the device as it is.
    ///
    /// # Errors
    /// An option that means nothing without `x-rs485=on`, or a delay that is too long.
    pub(super) fn of(options: &Options) -> Result<Option<Self>, ParameterError> {
        let on = options.bool_or("x-rs485", false);
        let details = ["x-rs485-rts", "x-rs485-before-ms", "x-rs485-after-ms"];
        let mut details = details.into_iter().chain(["x-rs485-hear"]);
        if let Some(name) = details.find(|name| !on && options.get(name).is_some()) {
            let text = format!("Parameter '{name}' needs x-rs485=on");
            return Err(ParameterError::invalid(name).shown_as(text));
        }
        if on && options.str("x-flow") == Some("rtscts") {
            let text = "Parameter 'x-rs485' is incompatible with x-flow=rtscts: both need RTS";
            return Err(ParameterError::invalid("x-rs485").shown_as(text));
        }
        let bus = Rs485 {
            on,
            low: options.str("x-rs485-rts").map(|level| level == "low"),
            before: number(options, "x-rs485-before-ms", 0, LONGEST)?,
            after: number(options, "x-rs485-after-ms", 0, LONGEST)?,
            hear: options
                .get("x-rs485-hear")
                .map(|_| options.bool_or("x-rs485-hear", false)),
            driver: &Kernel,
        };
        Ok(options.get("x-rs485").map(|_| bus))
    }

    /// Sets the device up so. May wait for it.
    ///
    /// # Errors
    /// Why it is not so. It may be set up in part.
    pub(super) fn set(&self, device: &impl AsFd) -> Result<(), Refusal> {
        let device = device.as_fd();
        let bus = match self.driver.bus(device) {
            Ok(bus) => bus,
            Err(error) if UNKNOWN.contains(&error) && !self.on => return Ok(()),
            Err(error) => return Err(Refusal::of(error)),
        };
        let wanted = self.changed(bus);
        if wanted != bus {
            self.driver.set_bus(device, wanted).map_err(Refusal::of)?;
        }
        let left_out = self.left_out(wanted, self.driver.bus(device).map_err(Refusal::of)?);
        match left_out.is_empty() {
            true => Ok(()),
            false => Err(Refusal::Options(left_out)),
        }
    }

    fn changed(&self, [mut flags, mut before, mut after, rest @ ..]: Bus) -> Bus {
        let mut set = |flag: u32, on: bool| flags = if on { flags | flag } else { flags & !flag };
        set(ENABLED, self.on);
        if let Some(low) = self.low {
            set(RTS_ON_SEND, !low);
            set(RTS_AFTER_SEND, low);
        }
        if let Some(hear) = self.hear {
            set(RX_DURING_TX, hear);
        }
        if self.on && flags & (RTS_ON_SEND | RTS_AFTER_SEND) == 0 {
            flags |= RTS_ON_SEND;
        }
        before = self.before.unwrap_or(before);
        after = self.after.unwrap_or(after);
        let mut changed = [flags, before, after, 0, 0, 0, 0, 0];
        changed[3..].copy_from_slice(&rest);
        changed
    }

    /// The options that were given and are not as `wanted` in what was `found`.
    fn left_out(&self, wanted: Bus, found: Bus) -> Vec<&'static str> {
        let differ = wanted[0] ^ found[0];
        let flags = |mask: u32| differ & mask != 0;
        let given = [
            ("x-rs485", flags(ENABLED)),
            (
                "x-rs485-rts",
                self.low.is_some() && flags(RTS_ON_SEND | RTS_AFTER_SEND),
            ),
            (
                "x-rs485-before-ms",
                self.before.is_some() && wanted[1] != found[1],
            ),
            (
                "x-rs485-after-ms",
                self.after.is_some() && wanted[2] != found[2],
            ),
            ("x-rs485-hear", self.hear.is_some() && flags(RX_DURING_TX)),
        ];
        let left_out = given.into_iter().filter(|(_, differs)| *differs);
        left_out.map(|(name, _)| name).collect()
    }
}

impl Refusal {
    fn of(error: Errno) -> Self {
        match UNKNOWN.contains(&error) {
            true => Refusal::Unknown,
            false => Refusal::Failed(error),
        }
    }

    pub(super) fn said_of(&self, path: &str) -> OpenError {
        match self {
            Refusal::Unknown => {
                let text = format!("Could not set up '{path}': its driver has no RS-485");
                OpenError::new(text).about(path)
            }
            Refusal::Options(names) => not_taken(path, names),
            Refusal::Failed(error) => sys::refused("Could not set up RS-485 of", path, *error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chardev_core::spec::OptionValue;

    use super::super::options::Terms;
    use super::super::way_back::{self, Place};
    use super::*;
    use crate::chardevs::Chardevs;
    use crate::port::Port;

    /// A driver that can do what is in `can`, in flags, and at most so long a delay.
    #[derive(Debug)]
    struct Toy {
        can: u32,
        longest: u32,
        bus: Mutex<Bus>,
        sets: Mutex<u32>,
    }

    impl Driver for Toy {
        fn bus(&self, _device: BorrowedFd<'_>) -> Result<Bus, Errno> {
            Ok(*self.bus.lock().unwrap())
        }

        fn set_bus(&self, _device: BorrowedFd<'_>, mut bus: Bus) -> Result<(), Errno> {
            bus[0] &= self.can;
            bus[1] = bus[1].min(self.longest);
            bus[2] = bus[2].min(self.longest);
            *self.sets.lock().unwrap() += 1;
            *self.bus.lock().unwrap() = bus;
            Ok(())
        }
    }

    fn toy(can: u32, longest: u32, flags: u32) -> &'static Toy {
        Box::leak(Box::new(Toy {
            can,
            longest,
            bus: Mutex::new([flags, 3, 4, 0, 0, 0, 0, 9]),
            sets: Mutex::new(0),
        }))
    }

    fn options(given: &[(&'static str, OptionValue)]) -> Options {
        let options = Options::new("serial");
        given
            .iter()
            .fold(options, |all, (name, value)| all.with(name, value.clone()))
    }

    fn word(text: &str) -> OptionValue {
        OptionValue::Str(text.to_owned())
    }

    const ALL: u32 = ENABLED | RTS_ON_SEND | RTS_AFTER_SEND | RX_DURING_TX;

    /// Sets the bus up by a driver whose flags and longest delay are these: what came of it, and
    /// the flags and delays afterwards.
    fn set(
        given: &[(&'static str, OptionValue)],
        (can, longest): (u32, u32),
        flags: u32,
    ) -> (Result<(), Refusal>, [u32; 3]) {
        let driver = toy(can, longest, flags);
        let mut bus = Rs485::of(&options(given)).unwrap().unwrap();
        bus.driver = driver;
        let null = super::super::open_device("/dev/null".as_ref()).unwrap();
        let result = bus.set(&null);
        let [flags, before, after, .., other] = *driver.bus.lock().unwrap();
        assert_eq!(other, 9, "what is not ours stays");
        (result, [flags, before, after])
    }

    fn all(rts: &str, before: i64, hear: bool) -> [(&'static str, OptionValue); 5] {
        [
            ("x-rs485", OptionValue::Bool(true)),
            ("x-rs485-rts", word(rts)),
            ("x-rs485-before-ms", OptionValue::Int(before)),
            ("x-rs485-after-ms", OptionValue::Int(0)),
            ("x-rs485-hear", OptionValue::Bool(hear)),
        ]
    }

    #[test]
    fn the_driver_is_told_what_was_said_and_no_more() {
        let on = [("x-rs485", OptionValue::Bool(true))];
        let off = [("x-rs485", OptionValue::Bool(false))];
        let (low, high) = (all("low", 20, true), all("high", 0, false));
        for (given, flags, became) in [
            (&on[..], 0, [ENABLED | RTS_ON_SEND, 3, 4]),
            (&on, RTS_AFTER_SEND, [ENABLED | RTS_AFTER_SEND, 3, 4]),
            (
                &low,
                RTS_ON_SEND,
                [ENABLED | RTS_AFTER_SEND | RX_DURING_TX, 20, 0],
            ),
            (&high, ALL - RTS_ON_SEND, [ENABLED | RTS_ON_SEND, 0, 0]),
            (&off, ENABLED | RX_DURING_TX, [RX_DURING_TX, 3, 4]),
        ] {
            assert_eq!(set(given, (ALL, 100), flags), (Ok(()), became), "{given:?}");
        }
    }

    #[test]
    fn what_the_driver_leaves_out_is_found() {
        let on = [("x-rs485", OptionValue::Bool(true))];
        let low = all("low", 20, true);
        for (given, can, left_out) in [
            (&on[..], (0, 100), vec!["x-rs485"]),
            // Its own choice of what was not said is its own affair.
            (&on, (ENABLED, 0), vec![]),
            (&low, (ALL, 10), vec!["x-rs485-before-ms"]),
            (&low, (ENABLED, 100), vec!["x-rs485-rts", "x-rs485-hear"]),
        ] {
            let expected = match left_out.is_empty() {
                true => Ok(()),
                false => Err(Refusal::Options(left_out)),
            };
            assert_eq!(set(given, can, 0).0, expected, "{given:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        use OptionValue::{Bool, Int};
        let on = ("x-rs485", Bool(true));
        for (given, text) in [
            (
                vec![("x-rs485-rts", word("low"))],
                "Parameter 'x-rs485-rts' needs x-rs485=on",
            ),
            (
                vec![("x-rs485", Bool(false)), ("x-rs485-hear", Bool(true))],
                "Parameter 'x-rs485-hear' needs x-rs485=on",
            ),
            (
                vec![on.clone(), ("x-flow", word("rtscts"))],
                "Parameter 'x-rs485' is incompatible with x-flow=rtscts: both need RTS",
            ),
            (
                vec![on.clone(), ("x-rs485-after-ms", Int(101))],
                "Parameter 'x-rs485-after-ms' expects a number from 0 to 100, not 101",
            ),
        ] {
            let error = Rs485::of(&options(&given)).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
        assert!(Rs485::of(&options(&[])).unwrap().is_none());
    }

    /// Driver and settings are new when an adapter has been unplugged.
    #[test]
    fn a_device_that_comes_back_is_on_the_bus_again_or_is_not_taken() {
        let chardevs = Chardevs::new().unwrap();
        let port = Port::of(chardevs.shared(), "con0");
        let (_cable, name) = super::super::tests::pty();
        let options = options(&[("x-rs485", OptionValue::Bool(true))]);
        let place = |driver: Option<&'static Toy>| {
            let mut terms = Terms::of(&options).unwrap();
            if let (Some(driver), Some(bus)) = (driver, &mut terms.bus) {
                bus.driver = driver;
            }
            Place {
                name: "tty".to_owned(),
                path: name.clone().into(),
                interval: None,
                terms,
            }
        };
        let driver = toy(ALL, 100, 0);
        let found = way_back::open(&place(Some(driver)), None, true, &port);
        assert!(found.is_ok());
        assert_eq!(*driver.sets.lock().unwrap(), 1);
        drop(found);
        // The kernel's own driver of pseudoterminals.
        let found = way_back::open(&place(None), None, true, &port);
        assert_eq!(found.err(), Some(Errno::OPNOTSUPP));
    }
}

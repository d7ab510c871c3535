//! What can be said of a serial device by options. The device is played by the slave of a pty.

use std::fs::File;
use std::sync::Arc;

use crate::cable::{event, plug_in, serial, unplug};
use crate::common::{add, change, ring, terminal, wait_for};
use chardev::backends::Serial;
use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, Event, FlowControl, FrontEnd, Parity, SerialParams};
use rustix::termios::{ControlModes, InputModes, Termios, tcgetattr};

fn word(word: &str) -> OptionValue {
    OptionValue::Str(word.to_owned())
}

fn refusal(chardevs: &Chardevs, options: &Options) -> String {
    let added = chardevs.block_on(chardevs.add("refused", options));
    added.unwrap_err().to_string()
}

/// The line as the device has it; what concerns parity and data bits, no pty shows.
fn settings(cable: &File) -> (u32, bool, bool, bool) {
    let settings = tcgetattr(cable).unwrap();
    let has = |modes| settings.control_modes.contains(modes);
    (
        settings.output_speed(),
        has(ControlModes::CSTOPB),
        has(ControlModes::CRTSCTS),
        is_xonxoff(&settings),
    )
}

fn is_xonxoff(settings: &Termios) -> bool {
    let both = InputModes::IXON | InputModes::IXOFF;
    settings.input_modes.contains(both)
}

fn front(chardevs: &Chardevs) -> FrontEnd {
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(event(&front), Event::Opened);
    front
}

#[test]
fn the_line_is_what_the_options_say_until_the_front_end_says_otherwise() {
    let (cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    // A rate that no constant of the kernel stands for.
    let options = Serial::new(&device)
        .hold()
        .baud(12_345)
        .stop_bits(2)
        .flow(FlowControl::RtsCts);
    chardevs.blocking_add("con0", options).unwrap();
    let becomes = |speed, stop2, rtscts, xonxoff| {
        let wanted = (speed, stop2, rtscts, xonxoff);
        wait_for("the line", || (settings(&cable) == wanted).then_some(()));
    };
    becomes(12_345, true, true, false);
    let front = front(&chardevs);
    // All four parameters are one thing, the flow control another.
    let params = SerialParams {
        speed: 9600,
        parity: Parity::None,
        data_bits: 8,
        stop_bits: 1,
    };
    front.set_serial(params);
    becomes(9600, false, true, false);
    front.set_serial_flow(params, FlowControl::XonXoff);
    becomes(9600, false, false, true);
    // It stays so, whatever the next one's options are.
    let options = Serial::new(&device).hold().baud(4800).stop_bits(2);
    chardevs.blocking_change("con0", options).unwrap();
    assert_eq!(settings(&cable), (9600, false, false, true));
}

#[test]
fn the_options_count_again_for_a_device_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("ttyUSB0");
    let cable = plug_in(&link);
    let chardevs = Chardevs::new().unwrap();
    let options = Serial::new(&link).baud(250_000).flow(FlowControl::XonXoff);
    chardevs.blocking_add("con0", options).unwrap();
    let front = front(&chardevs);
    wait_for("the line", || {
        (settings(&cable) == (250_000, false, false, true)).then_some(())
    });
    unplug(&link, cable);
    assert_eq!(event(&front), Event::Closed);
    let cable = plug_in(&link);
    assert_eq!(event(&front), Event::Opened);
    assert_eq!(settings(&cable), (250_000, false, false, true));
}

#[test]
fn an_option_that_the_device_does_not_take_is_refused() {
    let (cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    let set = |options| chardevs.blocking_add("con0", options);
    // A pseudoterminal keeps 8 bits without parity.
    let options = Serial::new(&device).baud(300).parity(Parity::Mark);
    let error = set(options.data_bits(7)).unwrap_err().to_string();
    let text = format!("'{device}': the device does not take x-databits, x-parity");
    assert!(error.ends_with(&text), "{error}");
    assert_ne!(
        tcgetattr(&cable).unwrap().output_speed(),
        300,
        "it was touched"
    );
    set(Serial::new(&device).baud(300).stop_bits(2)).unwrap();
    // What the front end set up counts, and that has been answered.
    let front = front(&chardevs);
    let params = SerialParams {
        parity: Parity::Even,
        ..SerialParams::USUAL
    };
    front.set_serial(params);
    let options = Serial::new(&device).parity(Parity::Odd);
    chardevs.blocking_change("con0", options).unwrap();
}

/// No device that could is at hand: what becomes of one that can is in `rs485.rs`.
#[test]
fn a_device_without_rs485_is_named_and_left_as_it_was() {
    let (cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let before = tcgetattr(&cable).unwrap().output_speed();
    for device in [device.as_str(), "/dev/null"] {
        let options = Serial::new(device).baud(300).rs485();
        let error = chardevs.blocking_change("con0", options).unwrap_err();
        let text = format!("Could not set up '{device}': its driver has no RS-485");
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(tcgetattr(&cable).unwrap().output_speed(), before);
    assert_eq!(front.write(b"goes on"), 7);
    let plain = serial(&device).with("x-rs485", OptionValue::Bool(false));
    change(&chardevs, "con0", &plain).unwrap();
}

#[test]
fn a_value_that_means_nothing_is_refused_with_what_would() {
    let (_cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    let most = u32::MAX;
    for (name, value, why) in [
        ("x-baud", 0, format!("a number from 1 to {most}, not 0")),
        (
            "x-baud",
            1 << 32,
            format!("a number from 1 to {most}, not 4294967296"),
        ),
        ("x-databits", 4, "a number from 5 to 8, not 4".to_owned()),
        ("x-databits", 9, "a number from 5 to 8, not 9".to_owned()),
        ("x-stopbits", 0, "a number from 1 to 2, not 0".to_owned()),
        ("x-stopbits", 3, "a number from 1 to 2, not 3".to_owned()),
    ] {
        let error = refusal(
            &chardevs,
            &serial(&device).with(name, OptionValue::Int(value)),
        );
        let text = format!("Parameter '{name}' expects {why}");
        assert!(error.ends_with(&text), "{error}");
    }
    for (name, value, words) in [
        ("x-parity", "stick", "none, even, odd, mark, space"),
        ("x-flow", "on", "none, rtscts, xonxoff"),
    ] {
        let error = refusal(&chardevs, &serial(&device).with(name, word(value)));
        let text = format!("Parameter '{name}' does not accept value '{value}', only {words}");
        assert!(error.ends_with(&text), "{error}");
    }
    assert!(chardevs.list().is_empty());
}

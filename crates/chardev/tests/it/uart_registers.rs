//! The 16550A chip against its datasheet: tables of register scripts.

#![cfg(feature = "uart16550")]

use std::time::Duration;

use chardev::front::uart16550::{Registers, UartState};
use chardev::{ModemChange, ModemLines};

/// Runs a script against a fresh chip. Words: `w3=83` writes and `r5=60` reads and compares, all
/// hexadecimal; `rx=41.42` receives, `brk` receives a break; `out=41.42` is what waits to be sent
/// and is taken; `full` takes nothing; `us=500` lets time pass; `int=1` compares the interrupt
/// line; `room=16` compares the receiver's room; `in=CTS.RI` sets the modem inputs.
fn run(name: &str, script: &str) {
    let mut chip = Registers::default();
    let mut now = Duration::ZERO;
    for word in script.split_whitespace() {
        let (what, value) = word.split_once('=').unwrap_or((word, ""));
        let bytes = || {
            let parts = value.split('.').filter(|part| !part.is_empty());
            parts
                .map(|part| u8::from_str_radix(part, 16).unwrap())
                .collect::<Vec<_>>()
        };
        let at = format!("{name}: {word} in {script:?}");
        match what {
            "out" => {
                let (first, second) = chip.tx();
                let all = [first, second].concat();
                assert_eq!(all, bytes(), "{at}");
                chip.tx_taken(all.len());
            }
            "rx" => chip.rx_push(&bytes(), now),
            "brk" => chip.rx_break(now),
            "us" => {
                now += Duration::from_micros(value.parse().unwrap());
                chip.advance(now);
            }
            "int" => assert_eq!(u8::from(chip.interrupt()).to_string(), value, "{at}"),
            "room" => assert_eq!(chip.rx_room().to_string(), value, "{at}"),
            "in" => {
                let lines = value.split('.').filter(|name| !name.is_empty());
                let lines = lines.map(|name| ModemLines::from_name(name).unwrap());
                chip.set_modem_inputs(Some(lines.collect()));
            }
            "reset" => chip.reset(),
            _ => {
                let offset = u8::from_str_radix(&what[1..], 16).unwrap();
                match &what[..1] {
                    "w" => chip.write(offset, bytes()[0], now),
                    "r" => {
                        let read = chip.read(offset, now);
                        assert_eq!(read, bytes()[0], "{at}: read {read:02x}");
                    }
                    _ => panic!("{at}: unknown"),
                }
            }
        }
    }
}

#[rustfmt::skip]
const SCRIPTS: &[(&str, &str)] = &[
    // What the datasheet's table of resets says, with the divisor of a PC's firmware.
    ("reset", "r1=00 r2=01 r3=00 r4=08 r5=60 r6=b0 r7=00 int=0 w3=80 r0=0c r1=00"),
    ("scratch", "w7=a5 r7=a5"),
    ("status registers are for reading", "w5=ff r5=60 w6=ff r6=b0"),
    ("unused bits stay 0", "w1=ff r1=0f w4=ff r4=1f"),
    ("divisor latch", "w3=83 w0=01 w1=02 r0=01 r1=02 w3=03 w1=05 r1=05 w3=83 r0=01 r1=02"),
    // Interrupt enable gates every source.
    ("data interrupts only if enabled", "rx=41 int=0 r2=01 w1=01 int=1 r2=04 r0=41 int=0 r2=01"),
    ("line status interrupts only if enabled", "brk w1=01 r2=04 w1=04 int=1 r2=06 r5=71 int=0 r5=61"),
    ("transmitter empty is told on enabling", "w1=02 int=1 r2=02 int=0 r2=01"),
    ("and again on enabling again", "w1=02 r2=02 w1=00 w1=02 r2=02"),
    ("and not while it is not empty", "w0=41 w1=02 int=0 r5=00 out=41 int=1 r5=60 r2=02 int=0"),
    ("writing acknowledges", "w1=02 w0=41 int=0 out=41 int=1 w0=42 int=0"),
    ("reading another source does not", "w1=03 rx=41 r2=04 r0=41 r2=02 r2=01"),
    // Priorities: line status, data, timeout, transmitter, modem.
    ("priorities", "w2=01 in= r6=0b w1=0f in=CTS w0=41 out=41 rx=42 brk r5=e1 r2=c4 r0=42 r2=c6 r5=f1 r2=c4 r0=00 r2=c2 r2=c0 r6=11 r2=c1"),
    // Receiver without FIFO.
    ("one buffer", "room=1 rx=41 room=0 r5=61 r0=41 room=1 r5=60"),
    ("overrun takes the newer one", "rx=41.42 r5=63 r5=61 r0=42 r5=60"),
    ("break", "brk r5=71 r5=61 r0=00 r5=60"),
    ("reading nothing", "r0=00 r5=60"),
    // Receiver with FIFO.
    ("FIFO identification", "w2=01 r2=c1 w2=00 r2=01"),
    ("FIFO holds sixteen", "w2=01 room=16 rx=00.01.02.03.04.05.06.07.08.09.0a.0b.0c.0d.0e.0f room=0 r5=61"),
    ("overrun keeps the older ones", "w2=01 rx=00.01.02.03.04.05.06.07.08.09.0a.0b.0c.0d.0e.0f.10 r5=63 r0=00 r0=01 room=2"),
    ("trigger 1", "w2=01 w1=01 rx=41 r2=c4"),
    ("trigger 4", "w2=41 w1=01 rx=41.42.43 int=0 rx=44 r2=c4 r0=41 int=0"),
    ("trigger 8", "w2=81 w1=01 rx=41.42.43.44.45.46.47 int=0 rx=48 r2=c4 r0=41 int=0"),
    ("trigger 14", "w2=c1 w1=01 rx=41.42.43.44.45.46.47.48.49.4a.4b.4c.4d int=0 rx=4e r2=c4 r0=41 int=0"),
    // 9600 with 5 data bits: 7 bits of 104 us a character, four of them are 2917 us.
    ("timeout", "w2=c1 w1=01 rx=41 us=2900 int=0 us=20 int=1 r2=cc r2=cc r0=41 int=0 r2=c1"),
    ("timeout begins again with every character", "w2=c1 w1=01 rx=41 us=2900 rx=42 us=2900 int=0 us=20 r2=cc"),
    ("timeout begins again with every read", "w2=c1 w1=01 rx=41.42 us=2900 r0=41 us=2900 int=0 us=20 r2=cc"),
    ("timeout follows the speed", "w3=83 w0=01 w1=00 w3=03 w2=c1 w1=01 rx=41 us=340 int=0 us=10 r2=cc"),
    ("no timeout without FIFO", "w1=00 rx=41 us=9000 w1=01 r2=04"),
    ("errors belong to their character", "w2=01 rx=41 brk r5=e1 r0=41 r5=f1 r5=61 r0=00 r5=60"),
    ("errors deeper in the FIFO do not interrupt", "w2=c1 w1=04 rx=41 brk int=0 r0=41 int=1 r2=c6"),
    // FIFO control.
    ("clear receiver", "w2=01 rx=41 w2=03 r5=60 r2=c1"),
    ("clear transmitter", "w2=01 w1=02 w0=41 r5=00 w2=05 r5=60 out= r2=c2"),
    ("switching clears both", "rx=41 w0=42 w2=01 r5=60 out= rx=43 w2=00 r5=60"),
    ("nothing is programmed without the enable bit", "w2=01 rx=41 w2=c1 w2=c1 r5=61 w2=c0 r2=01 r5=60"),
    ("bits that clear themselves", "w2=07 rx=41 r5=61 r0=41"),
    // Transmitter.
    ("transmitter holds its bytes", "w2=01 w0=41 w0=42 w0=43 r5=00 out=41.42.43 r5=60"),
    ("beyond sixteen is lost and the oldest stay", "w2=01 w0=00 w0=01 w0=02 w0=03 w0=04 w0=05 w0=06 w0=07 w0=08 w0=09 w0=0a w0=0b w0=0c w0=0d w0=0e w0=0f w0=10 out=00.01.02.03.04.05.06.07.08.09.0a.0b.0c.0d.0e.0f"),
    // Modem.
    ("modem inputs and deltas", "r6=b0 in=CTS.DSR.CAR r6=b0 in= r6=0b r6=00 in=CTS r6=11 r6=10"),
    ("a delta stays until it is read", "in= in=CTS.DSR.CAR r6=bb r6=b0"),
    ("only the end of ringing", "in=RI r6=4b in=RI r6=40 in= r6=04"),
    ("modem interrupt", "in= r6=0b w1=08 int=0 in=CTS int=1 r2=00 int=1 r6=11 int=0"),
    // Loopback.
    ("loopback of the modem lines", "w4=1a r6=92 r6=90 w4=15 r6=6b w4=10 r6=06 w4=1f r6=fb"),
    ("loopback of data", "w4=10 w0=41 out= r5=61 r0=41 r5=60"),
    ("loopback overruns", "w2=01 w4=10 w0=00 w0=01 w0=02 w0=03 w0=04 w0=05 w0=06 w0=07 w0=08 w0=09 w0=0a w0=0b w0=0c w0=0d w0=0e w0=0f w0=10 r5=63 r0=00"),
    ("loopback cuts the input off", "w4=10 room=0 w4=08 room=1"),
    ("loopback interrupts", "w4=10 w1=02 r2=02 w0=41 r2=02"),
    ("loopback keeps what waits", "w0=41 w4=10 r5=00 w0=42 r5=01 out=41 r5=61"),
    // A reset by the machine.
    ("a reset keeps what waits to be sent", "w3=03 w1=0f w2=01 w0=41 rx=42 reset r1=00 r2=01 r3=00 r5=00 out=41 r5=60"),
];

#[test]
fn registers_do_what_the_datasheet_says() {
    for (name, script) in SCRIPTS {
        run(name, script);
    }
}

#[test]
fn what_did_not_get_through_is_counted() {
    let now = Duration::ZERO;
    let mut chip = Registers::default();
    for byte in 0..20 {
        chip.write(0, byte, now);
    }
    chip.rx_push(b"abc", now);
    chip.write(2, 1, now);
    let counters = chip.counters();
    assert_eq!((counters.tx_overrun, counters.tx_cleared), (4, 16));
    assert_eq!((counters.rx_overrun, counters.rx_cleared), (2, 1));
}

#[test]
fn the_line_is_what_the_guest_programmed() {
    use chardev::{Parity, SerialParams};
    let now = Duration::ZERO;
    for (divisor, lcr, expected) in [
        (1, 0x03, (115_200, Parity::None, 8, 1)),
        (12, 0x1b, (9_600, Parity::Even, 8, 1)),
        (96, 0x0e, (1_200, Parity::Odd, 7, 2)),
        (12, 0x2b, (9_600, Parity::Mark, 8, 1)),
        (12, 0x3b, (9_600, Parity::Space, 8, 1)),
        (12, 0x33, (9_600, Parity::None, 8, 1)),
        (0, 0x00, (3_500, Parity::None, 5, 1)),
        (0xffff, 0x03, (1, Parity::None, 8, 1)),
    ] {
        let mut chip = Registers::default();
        chip.write(3, 0x80, now);
        chip.write(0, divisor as u8, now);
        chip.write(1, (divisor >> 8) as u8, now);
        assert_eq!(
            chip.serial_params(),
            None,
            "half a divisor is not a wish for a speed"
        );
        chip.write(3, lcr, now);
        let (speed, parity, data_bits, stop_bits) = expected;
        let expected = SerialParams {
            speed,
            parity,
            data_bits,
            stop_bits,
        };
        assert_eq!(chip.serial_params(), Some(expected));
    }
}

/// The steps of `autoconfig` and `autoconfig_16550a` in Linux's drivers/tty/serial/8250, in order,
/// and of its `size_fifo`. Returns what it takes the chip for.
fn linux_autoconfig(chip: &mut Registers) -> Result<&'static str, String> {
    const UART_LCR_CONF_MODE_A: u8 = 0x80;
    const UART_LCR_CONF_MODE_B: u8 = 0xbf;
    let now = Duration::ZERO;
    let old = chip.read(1, now);
    chip.write(1, 0, now);
    let cleared = chip.read(1, now) & 0x0f;
    chip.write(1, 0x0f, now);
    let set = chip.read(1, now) & 0x0f;
    chip.write(1, old, now);
    if (cleared, set) != (0, 0x0f) {
        return Err(format!("IER test failed ({cleared:02x}, {set:02x})"));
    }
    let (mcr, lcr) = (chip.read(4, now), chip.read(3, now));
    chip.write(4, 0x10 | 0x0a, now);
    let status = chip.read(6, now) & 0xf0;
    chip.write(4, mcr, now);
    if status != 0x90 {
        return Err(format!("LOOP test failed ({status:02x})"));
    }
    chip.write(3, UART_LCR_CONF_MODE_B, now);
    chip.write(2, 0, now);
    chip.write(3, 0, now);
    chip.write(2, 1, now);
    let found = match chip.read(2, now) >> 6 {
        0 => "8250 or 16450",
        1 => "unknown",
        2 => "16550",
        _ => "16550A",
    };
    if found != "16550A" {
        return Ok(found);
    }
    // autoconfig_16550a: everything that would make it a later chip.
    chip.write(3, UART_LCR_CONF_MODE_A, now);
    if chip.read(2, now) == 0 {
        return Ok("ST16650");
    }
    chip.write(3, UART_LCR_CONF_MODE_B, now);
    if chip.read(2, now) == 0 {
        return Ok("ST16650V2");
    }
    chip.write(3, 0, now);
    let before = chip.read(4, now);
    chip.write(3, 0xe0, now);
    let after = chip.read(2, now);
    if (after ^ before) & 0x10 == 0 {
        chip.write(3, 0, now);
        chip.write(4, before ^ 0x10, now);
        chip.write(3, 0xe0, now);
        let after = chip.read(2, now);
        chip.write(3, 0, now);
        chip.write(4, before, now);
        if (after ^ before) & 0x10 != 0 {
            return Ok("NS16550A super");
        }
    }
    chip.write(3, 0, now);
    chip.write(2, 0x21, now);
    let first = chip.read(2, now) >> 5;
    chip.write(2, 1, now);
    chip.write(3, UART_LCR_CONF_MODE_A, now);
    chip.write(2, 0x21, now);
    let second = chip.read(2, now) >> 5;
    chip.write(2, 1, now);
    chip.write(3, 0, now);
    if (first, second) == (6, 7) {
        return Ok("TI16750");
    }
    let ier = chip.read(1, now);
    chip.write(1, ier & !0x40, now);
    if chip.read(1, now) & 0x40 == 0 {
        chip.write(1, ier | 0x40, now);
        if chip.read(1, now) & 0x40 != 0 {
            return Ok("XScale");
        }
    }
    chip.write(1, ier, now);
    // size_fifo
    chip.write(3, 0, now);
    chip.write(2, 0x07, now);
    chip.write(4, 0x10, now);
    chip.write(3, UART_LCR_CONF_MODE_A, now);
    let divisor = (chip.read(0, now), chip.read(1, now));
    chip.write(0, 1, now);
    chip.write(1, 0, now);
    chip.write(3, 0x03, now);
    for count in 0..=255 {
        chip.write(0, count, now);
    }
    let mut size = 0;
    while chip.read(5, now) & 1 != 0 && size < 256 {
        if chip.read(0, now) != size as u8 {
            return Err(format!("character {size} is another one"));
        }
        size += 1;
    }
    chip.write(3, UART_LCR_CONF_MODE_A, now);
    chip.write(0, divisor.0, now);
    chip.write(1, divisor.1, now);
    chip.write(4, mcr, now);
    chip.write(3, lcr, now);
    match size {
        16 => Ok("16550A with a FIFO of 16"),
        64 => Ok("U6_16550A"),
        size => Err(format!("the FIFO holds {size}")),
    }
}

#[test]
fn linux_finds_a_16550a_with_a_fifo() {
    let mut chip = Registers::default();
    assert_eq!(
        linux_autoconfig(&mut chip),
        Ok("16550A with a FIFO of 16"),
        "{chip:?}"
    );
    // And a second time, as after a reboot without a reset.
    assert_eq!(linux_autoconfig(&mut chip), Ok("16550A with a FIFO of 16"));
    assert_eq!(chip.counters().tx_overrun, 0);
}

/// Linux's startup asks twice whether enabling the transmitter's interrupt raises it, and falls
/// back to polling with a timer if not.
#[test]
fn linux_does_not_find_the_transmitter_bugs() {
    let now = Duration::ZERO;
    let mut chip = Registers::default();
    for _ in 0..2 {
        chip.write(1, 0x02, now);
        let lsr = chip.read(5, now);
        let iir = chip.read(2, now);
        assert_eq!((lsr & 0x40, iir & 1), (0x40, 0));
        chip.write(1, 0, now);
    }
}

#[test]
fn a_state_is_restored_and_a_wrong_one_refused() {
    let now = Duration::ZERO;
    let mut chip = Registers::default();
    chip.write(3, 0x1b, now);
    chip.write(2, 0x81, now);
    chip.write(1, 0x0f, now);
    chip.write(0, b'x', now);
    chip.rx_push(b"ab", now);
    chip.rx_break(now);
    let state = chip.state();
    let again = Registers::from_state(&state).unwrap();
    assert_eq!(again.state(), state);
    assert_eq!(again.tx(), (&b"x"[..], &b""[..]));
    for (field, broken) in [
        (
            "ier",
            UartState {
                ier: 0x10,
                ..state.clone()
            },
        ),
        (
            "mcr",
            UartState {
                mcr: 0x20,
                ..state.clone()
            },
        ),
        (
            "rx",
            UartState {
                rx: vec![0; 17],
                ..state.clone()
            },
        ),
        (
            "rx",
            UartState {
                fcr: 0,
                ..state.clone()
            },
        ),
        (
            "rx_errors",
            UartState {
                rx_errors: vec![0; 4],
                ..state.clone()
            },
        ),
        (
            "tx",
            UartState {
                tx: vec![0; 17],
                ..state.clone()
            },
        ),
    ] {
        let error = Registers::from_state(&broken).unwrap_err().to_string();
        assert!(error.contains(&format!("'{field}'")), "{error}");
    }
}

/// A guest that waits for the transmitter's interrupt gets one after a restore, even if the former
/// process had raised it and the guest did not see it.
#[test]
fn a_restored_transmitter_is_not_stuck() {
    let now = Duration::ZERO;
    let mut chip = Registers::default();
    chip.write(1, 0x02, now);
    assert_eq!(chip.read(2, now), 0x02);
    assert!(!chip.interrupt());
    let mut again = Registers::from_state(&chip.state()).unwrap();
    assert!(again.interrupt());
    assert_eq!(again.read(2, now), 0x02);
}

#[cfg(feature = "serde")]
#[test]
fn a_state_goes_through_json() {
    let mut chip = Registers::default();
    chip.rx_push(b"a", Duration::ZERO);
    chip.write(0, b'b', Duration::ZERO);
    let text = serde_json::to_string(&chip.state()).unwrap();
    let state: UartState = serde_json::from_str(&text).unwrap();
    assert_eq!(state, chip.state());
}

/// A line that went up and down again is as it was, and its delta bit says that it was not.
#[test]
fn a_pulse_on_a_modem_line_leaves_its_delta_bit() {
    let now = Duration::ZERO;
    let mut chip = Registers::default();
    chip.set_modem_inputs(Some(ModemLines::CTS));
    chip.read(6, now);
    let pulse = |changed| ModemChange {
        inputs: ModemLines::CTS,
        changed,
    };
    for (changed, deltas) in [
        (ModemLines::CTS, 0x01),
        (ModemLines::DSR, 0x02),
        (ModemLines::RI, 0x04),
        (ModemLines::CAR, 0x08),
        (ModemLines::empty(), 0x00),
    ] {
        chip.modem_changed(pulse(changed));
        assert_eq!(chip.read(6, now), 0x10 | deltas, "{changed:?}");
        assert_eq!(chip.read(6, now), 0x10);
    }
}

//! front → chardev → [back] → host: a serial mouse as Microsoft's, with Logitech's third button.
//!
//! It lives on the current of DTR and RTS. When that comes it says `M3` and who it is, as *Plug and
//! Play External COM Device Specification* 1.0 has it; then each report is three bytes of 7 bits:
//!
//! ```text
//! 1 L R Y7 Y6 X7 X6 │ 0 X5 … X0 │ 0 Y5 … Y0
//! ```
//!
//! and a fourth with the middle button (20h) while that is pressed, and when it is let go.

use chardev_core::{Answers, Line, ModemLines};

use super::{Device, done};
use crate::back::said::Said;
use crate::input_events::{Axis, InputEvent, MouseButton};

/// Who it is: the guests of QEMU know its mouse by that.
const MAKER: &[u8] = b"QMU";
const PRODUCT: &[u8] = b"0001";
const CLASS: &[u8] = b"MOUSE";
const NAME: &[u8] = b"QEMU Microsoft Mouse";

#[derive(Debug, Default)]
pub(super) struct Mouse {
    powered: bool,
    /// How far it was moved, to the right and downwards, and has not said.
    moved: [i64; 2],
    left: bool,
    middle: bool,
    right: bool,
    /// The middle button has been let go, which has not been said.
    middle_changed: bool,
}

impl Device for Mouse {
    const NAME: &'static str = "msmouse";
    const LIMIT: usize = 64;
    const IS_OPEN: bool = false;

    fn takes(event: &InputEvent) -> bool {
        matches!(event, InputEvent::Moved { .. } | InputEvent::Button { .. })
    }

    fn handle(&mut self, event: &InputEvent) {
        if !self.powered {
            return;
        }
        match event {
            InputEvent::Moved { axis, by } => {
                let moved = &mut self.moved[usize::from(*axis == Axis::Y)];
                *moved = moved.saturating_add(*by).clamp(-MOST, MOST);
            }
            InputEvent::Button { button, down } => match button {
                MouseButton::Left => self.left = *down,
                MouseButton::Right => self.right = *down,
                MouseButton::Middle => {
                    self.middle = *down;
                    self.middle_changed = true;
                }
                MouseButton::Other => {}
            },
            _ => {}
        }
    }

    fn report(&mut self, said: &mut Said) -> bool {
        if !self.powered {
            return true;
        }
        // A long way takes several.
        loop {
            let [x, y] = self.moved.map(|moved| moved.clamp(-128, 127));
            if !said.say(&self.packet(x as u8, y as u8)) {
                return false;
            }
            self.middle_changed = false;
            self.moved = [self.moved[0] - x, self.moved[1] - y];
            if self.moved == [0, 0] {
                return true;
            }
        }
    }

    fn set_line(&mut self, line: &Line, said: &mut Said) -> bool {
        let powered = line.modem.is_some_and(|outputs| !outputs.is_empty());
        if powered == self.powered {
            return false;
        }
        *self = Mouse {
            powered,
            ..Mouse::default()
        };
        said.take();
        if powered {
            said.say(b"M3");
            said.say(&identity());
        }
        powered
    }

    fn answer(answers: &mut Answers) {
        done(&mut answers.modem);
    }

    /// It drives none.
    fn modem_inputs() -> Option<ModemLines> {
        Some(ModemLines::empty())
    }
}

/// The farthest that is remembered one way.
const MOST: i64 = 1 << 16;

impl Mouse {
    fn packet(&self, x: u8, y: u8) -> Vec<u8> {
        let buttons = u8::from(self.left) << 5 | u8::from(self.right) << 4;
        let mut packet = vec![0x40 | buttons | (y >> 6) << 2 | x >> 6, x & 0x3f, y & 0x3f];
        if self.middle || self.middle_changed {
            packet.push(u8::from(self.middle) << 5);
        }
        packet
    }
}

/// Who it is, in characters of six bits, between brackets and with a sum before the last one.
fn identity() -> Vec<u8> {
    let six = |text: &[u8]| text.iter().map(|byte| byte - 0x20).collect::<Vec<_>>();
    // Revision 1.0 is a number; no serial number, no driver that it would be compatible with.
    let id = [
        &six(b"(")[..],
        &[0x01, 0x24],
        &six(MAKER),
        &six(PRODUCT),
        &six(b"\\\\"),
        &six(CLASS),
        &six(b"\\\\"),
        &six(NAME),
    ]
    .concat();
    let end = six(b")");
    let sum = id
        .iter()
        .chain(&end)
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let sum = six(format!("{sum:02X}").as_bytes());
    [id, sum, end].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Said {
        Said::new(Mouse::LIMIT)
    }

    fn with(modem: ModemLines) -> Line {
        Line {
            modem: Some(modem),
            ..Line::default()
        }
    }

    fn on() -> (Mouse, Said) {
        let (mut mouse, mut said) = (Mouse::default(), said());
        assert!(mouse.set_line(&with(ModemLines::DTR), &mut said));
        said.take();
        (mouse, said)
    }

    fn moved(axis: Axis, by: i64) -> InputEvent {
        InputEvent::Moved { axis, by }
    }

    fn button(button: MouseButton, down: bool) -> InputEvent {
        InputEvent::Button { button, down }
    }

    fn reported(mouse: &mut Mouse, said: &mut Said, events: &[InputEvent]) -> Vec<u8> {
        events.iter().for_each(|event| mouse.handle(event));
        assert!(mouse.report(said));
        said.take()
    }

    /// What QEMU's says is compared in `crates/chardevd/tests/it/pointers.rs`.
    #[test]
    fn each_report_is_as_in_the_protocol() {
        use Axis::{X, Y};
        use MouseButton::{Left, Middle, Other, Right};
        let (mut mouse, mut said) = on();
        for (events, expected) in [
            (vec![moved(X, 1)], vec![0x40, 1, 0]),
            (vec![moved(X, -1), moved(Y, -2)], vec![0x4f, 0x3f, 0x3e]),
            (vec![moved(X, 100), moved(X, 27)], vec![0x41, 0x3f, 0]),
            (vec![moved(X, -128)], vec![0x42, 0, 0]),
            (vec![moved(X, 128)], vec![0x41, 0x3f, 0, 0x40, 1, 0]),
            (vec![moved(Y, -130)], vec![0x48, 0, 0, 0x4c, 0, 0x3e]),
            (vec![button(Left, true)], vec![0x60, 0, 0]),
            (vec![button(Right, true)], vec![0x70, 0, 0]),
            (vec![button(Left, false), moved(Y, 3)], vec![0x50, 0, 3]),
            (vec![button(Middle, true)], vec![0x50, 0, 0, 0x20]),
            (vec![moved(X, 5)], vec![0x50, 5, 0, 0x20]),
            (vec![button(Middle, false)], vec![0x50, 0, 0, 0]),
            (vec![button(Right, false)], vec![0x40, 0, 0]),
            (vec![button(Other, true)], vec![0x40, 0, 0]),
        ] {
            assert_eq!(
                reported(&mut mouse, &mut said, &events),
                expected,
                "{events:?}"
            );
        }
    }

    #[test]
    fn it_says_who_it_is_when_current_comes() {
        let (mut mouse, mut said) = (Mouse::default(), said());
        let none = ModemLines::empty();
        let (dtr, both) = (ModemLines::DTR, ModemLines::DTR | ModemLines::RTS);
        assert_eq!(reported(&mut mouse, &mut said, &[moved(Axis::X, 1)]), []);
        for (lines, says) in [
            (none, false),
            (dtr, true),
            (both, false),
            (ModemLines::RTS, false),
            (none, false),
            (both, true),
        ] {
            assert_eq!(mouse.set_line(&with(lines), &mut said), says, "{lines:?}");
            let bytes: Vec<u8> = said.take();
            assert_eq!(bytes.starts_with(b"M3\x08\x01\x24"), says);
            assert_eq!(bytes.is_empty(), !says);
        }
    }

    #[test]
    fn what_has_no_room_becomes_one_report() {
        let (mut mouse, mut said) = on();
        let mut whole = 0;
        for _ in 0..100 {
            mouse.handle(&moved(Axis::X, 1));
            whole += u64::from(mouse.report(&mut said));
        }
        assert_eq!((whole, said.take().len()), (21, 63));
        assert_eq!(reported(&mut mouse, &mut said, &[]), [0x41, 79 - 64, 0]);
    }
}

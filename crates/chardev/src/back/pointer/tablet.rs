//! front → chardev → [back] → host: a Wacom PenPartner, a tablet of protocol IV.
//!
//! It speaks at 9600 baud. A command is a line, but `~#`, which asks who it is, is answered at
//! once. A report is seven bytes, of which only the first has its highest bit set:
//!
//! ```text
//! 1 proximity stylus … │ X13 … X7 │ X6 … X0 │ 0 │ Y13 … Y7 │ Y6 … Y0 │ pressure
//! ```

use chardev_core::{Answers, Line};

use super::{Device, done};
use crate::back::said::Said;
use crate::input_events::{Axis, InputEvent, MouseButton};

const SPEED: u32 = 9600;
/// The longest line that is looked at.
const LINE: usize = 16;
/// The largest coordinate of a user's.
const MOST: i64 = 0x7fff;
/// The tablet's lines across and down, in 10,000 of those.
const SCALE: [i64; 2] = [1537, 1152];

const WHO: &[u8] = b"~#CT-0045R,V1.3-5,";
const SETTINGS: &[u8] = b"96,N,8,0";
/// The first byte of a report of a pen that hovers, and of one that is pressed down.
const HOVERS: u8 = 0xe0;
const PRESSED: u8 = 0xa0;

#[derive(Debug, Default)]
pub(super) struct Tablet {
    /// The front end has set another speed.
    deaf: bool,
    /// It reports what happens.
    started: bool,
    line: Vec<u8>,
    at: [i64; 2],
    pressed: bool,
}

impl Device for Tablet {
    const NAME: &'static str = "wctablet";
    const LIMIT: usize = 512;
    const IS_OPEN: bool = true;

    fn takes(event: &InputEvent) -> bool {
        matches!(event, InputEvent::Placed { .. } | InputEvent::Button { .. })
    }

    fn handle(&mut self, event: &InputEvent) {
        match event {
            InputEvent::Placed { axis, at } => {
                self.at[usize::from(*axis == Axis::Y)] = (*at).clamp(0, MOST);
            }
            InputEvent::Button {
                button: MouseButton::Left,
                down,
            } => self.pressed = *down,
            _ => {}
        }
    }

    fn report(&mut self, said: &mut Said) -> bool {
        self.deaf || !self.started || said.say(&self.packet())
    }

    fn hear(&mut self, byte: u8, said: &mut Said) -> bool {
        if self.deaf {
            return false;
        }
        if matches!(byte, b'\r' | b'\n') {
            let line = std::mem::take(&mut self.line);
            return self.obey(&line, said);
        }
        // Of a line that is too long it is enough to know that.
        if self.line.len() < LINE {
            self.line.push(byte);
        }
        if self.line == b"~#" {
            self.line.clear();
            said.say(WHO);
        }
        false
    }

    fn set_line(&mut self, line: &Line, said: &mut Said) -> bool {
        let deaf = line.serial.is_some_and(|params| params.speed != SPEED);
        if deaf != self.deaf {
            (self.deaf, self.started) = (deaf, false);
            self.line.clear();
            said.take();
        }
        false
    }

    fn answer(answers: &mut Answers) {
        done(&mut answers.serial);
    }
}

impl Tablet {
    /// Whether the tablet is in use from here on.
    fn obey(&mut self, line: &[u8], said: &mut Said) -> bool {
        match line {
            b"RE" => {
                said.say(SETTINGS);
            }
            b"ST" => {
                self.started = true;
                said.say(&self.packet());
            }
            b"SP" => self.started = false,
            // A test of the line: the character comes back in another shape.
            [b'T', b'S', sent] => {
                let high = 0x7e | sent >> 7;
                said.say(&[0xa3, high, sent & 0x7f ^ 0x57, 0x03, 0x7f, 0x7f, 0x00]);
            }
            _ => {}
        }
        line == b"ST"
    }

    fn packet(&self) -> [u8; 7] {
        let lines = |axis: usize| self.at[axis] * SCALE[axis] / 10_000;
        let [x, y] = [lines(0), lines(1)].map(|at| [(at >> 7) as u8, (at & 0x7f) as u8]);
        let first = if self.pressed { PRESSED } else { HOVERS };
        [first, x[0], x[1], 0, y[0], y[1], 0]
    }
}

#[cfg(test)]
mod tests {
    use chardev_core::SerialParams;

    use super::*;

    fn said() -> Said {
        Said::new(Tablet::LIMIT)
    }

    fn answer(tablet: &mut Tablet, sent: &[u8]) -> Vec<u8> {
        let mut said = said();
        for byte in sent {
            tablet.hear(*byte, &mut said);
        }
        said.take()
    }

    const REST: &[u8] = &[0xe0, 0, 0, 0, 0, 0, 0];

    /// What QEMU's says is compared in `crates/chardevd/tests/it/pointers.rs`.
    #[test]
    fn each_command_has_its_answer() {
        let long = [&[b'a'; 200][..], b"~#\r"].concat();
        let test = |sent, high, low| {
            (
                [b'T', b'S', sent, b'\r'],
                [0xa3, high, low, 3, 0x7f, 0x7f, 0],
            )
        };
        let (letter, high) = (test(b'a', 0x7e, 0x36), test(0x80, 0x7f, 0x57));
        let mut tablet = Tablet::default();
        for (sent, expected) in [
            (&b"~#"[..], WHO),
            (b"\r", b""),
            (b"RE\r", SETTINGS),
            (b"RE", b""),
            (b"\n", SETTINGS),
            (b"RE~#\r", b""),
            (b"~\r#\r", b""),
            (b"TS\r", b""),
            (&letter.0, &letter.1),
            (&high.0, &high.1),
            (b"TSab\r", b""),
            (b"ST\r", REST),
            (b"ST\nSP\r", REST),
            (b"\0\r\xff\r", b""),
            (&long, b""),
            (b"~#", WHO),
        ] {
            assert_eq!(
                answer(&mut tablet, sent),
                expected,
                "{}",
                sent.escape_ascii()
            );
        }
    }

    #[test]
    fn it_reports_where_the_pen_is_between_start_and_stop() {
        let mut tablet = Tablet::default();
        let mut reported = |sent: &[u8], x: i64, y: i64, down: bool| {
            answer(&mut tablet, sent);
            for (axis, at) in [(Axis::X, x), (Axis::Y, y)] {
                tablet.handle(&InputEvent::Placed { axis, at });
            }
            let button = MouseButton::Left;
            tablet.handle(&InputEvent::Button { button, down });
            let mut said = said();
            assert!(tablet.report(&mut said));
            said.take()
        };
        assert_eq!(reported(b"", 1, 1, false), []);
        for (x, y, down, expected) in [
            (1000, 2000, false, [0xe0, 1, 25, 0, 1, 102, 0]),
            (32767, 32767, true, [0xa0, 39, 44, 0, 29, 62, 0]),
            (40_000, -1, false, [0xe0, 39, 44, 0, 0, 0, 0]),
        ] {
            assert_eq!(reported(b"ST\r", x, y, down), expected);
        }
        assert_eq!(reported(b"SP\r", 1, 1, false), []);
    }

    #[test]
    fn it_is_deaf_at_another_speed_and_has_to_be_started_again() {
        let (mut tablet, mut said) = (Tablet::default(), said());
        let at = |speed| Line {
            serial: Some(SerialParams {
                speed,
                ..SerialParams::USUAL
            }),
            ..Line::default()
        };
        assert_eq!(answer(&mut tablet, b"ST\r"), REST);
        tablet.set_line(&at(9600), &mut said);
        assert!(tablet.started);
        tablet.set_line(&at(19200), &mut said);
        assert_eq!(answer(&mut tablet, b"~#ST\r"), b"");
        tablet.set_line(&at(9600), &mut said);
        assert!(tablet.report(&mut said) && said.is_empty());
        assert_eq!(answer(&mut tablet, b"~#"), WHO);
    }
}

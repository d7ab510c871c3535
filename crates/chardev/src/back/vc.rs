//! front → chardev → [back] → host: vc, a text console whose screen can be looked at and whose keys
//! are pressed over QMP.
//!
//! What is written is fed to the screen on the thread that writes, a millisecond's work at a time.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::spec::{
    Expected, KindSpec, OptionSpec, OptionType, Options, ParameterError, Short,
};
use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Drain, Line, LineControl, NothingToDrain,
    Ready, Sent, Sharing, TerminalSize, WeakChardev,
};
use chardev_screen::{CELL_HEIGHT, CELL_WIDTH, Keyboard, Screen, Size, WORK};

use crate::back::said::Said;
use crate::back::{Kind, OpenContext, Opening};
use crate::input_events::{Handled, InputDevice, InputEvent, InputEvents};
use crate::port::Port;

/// The kind `vc`.
pub(crate) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "vc",
        "a text console: its screen for screendump and x-screen, its keys by send-key",
        OPTIONS,
    )
    .spelled(&[Short::Name]),
    open,
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "width",
        OptionType::Int,
        "width in pixels, 8 to 4096; a column is 8 (default 640)",
    ),
    OptionSpec::new(
        "height",
        OptionType::Int,
        "height in pixels, 16 to 4096; a row is 16 (default 384)",
    ),
    OptionSpec::new("cols", OptionType::Int, "columns, 1 to 512 (default 80)"),
    OptionSpec::new("rows", OptionType::Int, "rows, 1 to 256 (default 24)"),
];

/// The most bytes of input that wait for the front end. What more is typed is refused, and no more
/// is answered; in QEMU both are lost beyond 16.
const INPUT_LIMIT: usize = 4096;

fn open<'a>(options: &'a Options, context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async move {
        let (size, pixels) = size(options)?;
        let console = Arc::new(Console {
            label: context.port.label().to_owned(),
            port: context.port.clone(),
            pixels,
            screen: Mutex::new(Screen::new(size)),
            typed: Mutex::new(Typed {
                keyboard: Keyboard::default(),
                input: Said::new(INPUT_LIMIT),
                echo: false,
                gone: false,
            }),
        });
        Ok(Box::new(Vc {
            console,
            devices: context.scene.shared.input_events().clone(),
            told_size: false,
        }) as Box<dyn Backend>)
    })
}

/// The size in cells and in pixels. Pixels count before cells, and 0 is as if nothing were said of
/// either direction, as in QEMU; sizes that end QEMU are refused.
fn size(options: &Options) -> Result<(Size, (usize, usize)), ParameterError> {
    let largest = Size::LARGEST;
    let width = extent(options, "width", "cols", CELL_WIDTH, largest.cols())?;
    let height = extent(options, "height", "rows", CELL_HEIGHT, largest.rows())?;
    let pixels = match (width, height) {
        (Some(width), Some(height)) => (width, height),
        _ => (
            usize::from(Size::DEFAULT.cols()) * CELL_WIDTH,
            usize::from(Size::DEFAULT.rows()) * CELL_HEIGHT,
        ),
    };
    let size = Size::of_pixels(pixels.0, pixels.1).unwrap_or(Size::DEFAULT);
    Ok((size, pixels))
}

/// How many pixels there are one way, if that is said.
fn extent(
    options: &Options,
    pixels: &'static str,
    cells: &'static str,
    cell: usize,
    most: u16,
) -> Result<Option<usize>, ParameterError> {
    let number = |name, one: usize| {
        let most = usize::from(most) * cell / one;
        let least = cell / one;
        let Some(number) = options.int(name) else {
            return Ok(None);
        };
        match usize::try_from(number) {
            Ok(0) => Ok(Some(0)),
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number * one)),
            _ => {
                let bound = |number| i64::try_from(number).unwrap_or(i64::MAX);
                let range = Expected::Range(bound(least), bound(most));
                Err(ParameterError::expects(name, range))
            }
        }
    };
    let (pixels, cells) = (number(pixels, 1)?, number(cells, cell)?);
    Ok(pixels.or(cells).filter(|extent| *extent > 0))
}

/// The console itself, for the back end and for those who look at it.
#[derive(Debug)]
pub(crate) struct Console {
    label: String,
    port: Port,
    /// The size of the display.
    pixels: (usize, usize),
    screen: Mutex<Screen>,
    typed: Mutex<Typed>,
}

/// What is on its way to the front end.
#[derive(Debug)]
struct Typed {
    keyboard: Keyboard,
    input: Said,
    /// What is typed is shown, too.
    echo: bool,
    /// Nobody will read any more.
    gone: bool,
}

/// What a chardev that is asked to [lend](Sharing::lend) it gives whoever wants to look at it.
#[derive(Debug)]
pub(crate) struct WantedConsole;

impl Console {
    /// Its screen. It is held for as long as looking at it takes, which holds up who writes.
    pub(crate) fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of its display in pixels.
    pub(crate) fn pixels(&self) -> (usize, usize) {
        self.pixels
    }

    fn typed(&self) -> MutexGuard<'_, Typed> {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InputDevice for Console {
    fn label(&self) -> &str {
        &self.label
    }

    fn takes(&self, event: &InputEvent) -> bool {
        matches!(event, InputEvent::Key { .. })
    }

    fn handle(&self, event: &InputEvent) -> Handled {
        let InputEvent::Key { name, down } = event else {
            return Handled::Done;
        };
        let application = self.screen().wants_application_keys();
        let (bytes, handled, echo) = {
            let mut typed = self.typed();
            let bytes = typed.keyboard.key(name, *down, application);
            let handled = if bytes.is_empty() {
                Handled::Done
            } else if typed.gone {
                Handled::Gone
            } else if typed.input.say(&bytes) {
                Handled::Done
            } else {
                Handled::Full
            };
            (bytes, handled, typed.echo)
        };
        if bytes.is_empty() || handled != Handled::Done {
            return handled;
        }
        if echo {
            let shown = if bytes == b"\r" { b"\r\n" } else { &bytes[..] };
            self.screen().feed(shown);
        }
        self.port.kick(Ready::READ);
        Handled::Done
    }
}

#[derive(Debug)]
struct Vc {
    console: Arc<Console>,
    devices: Arc<InputEvents>,
    told_size: bool,
}

impl Backend for Vc {
    fn kind(&self) -> &'static str {
        "vc"
    }

    fn filename(&self) -> String {
        "vc".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let mut screen = self.console.screen();
        let (mut taken, mut left) = (0, WORK);
        for buf in bufs {
            let count = screen.feed_within(buf, &mut left);
            taken += count;
            if count < buf.len() {
                break;
            }
        }
        let answers = screen.take_answers();
        drop(screen);
        if !answers.is_empty() && self.console.typed().input.say(&answers) {
            self.console.port.kick_soon(Ready::READ);
        }
        Sent::Taken(taken)
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.console.typed().input.read(bufs)
    }

    /// There is always room, and whoever types tells of it.
    fn watch(&mut self, interest: Ready) {
        if interest.contains(Ready::WRITE) {
            self.console.port.kick_soon(Ready::WRITE);
        }
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        if std::mem::replace(&mut self.told_size, true) {
            return None;
        }
        let size = self.console.screen().size();
        let (cols, rows) = (size.cols(), size.rows());
        Some(BackendEvent::Resized(TerminalSize { cols, rows }))
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        let console: Arc<dyn InputDevice> = self.console.clone();
        self.devices.add(&console);
    }

    fn refuse_input(&mut self) {
        self.console.typed().gone = true;
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        (self.console.typed().input.take(), false)
    }

    /// What was written has been shown.
    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for Vc {
    fn apply(&mut self, line: &Line) -> Answers {
        self.console.typed().echo = line.echo;
        let mut answers = Answers::unsupported(line, true);
        if line.echo {
            answers.echo = Answer::Done;
        }
        answers
    }
}

impl Sharing for Vc {
    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        wanted.downcast_ref::<WantedConsole>()?;
        Some(Box::new(Arc::clone(&self.console)))
    }
}

#[cfg(test)]
mod tests {
    use chardev_core::spec::OptionValue;

    use super::*;

    /// What the options come to.
    fn sized(given: &[(&'static str, i64)]) -> Result<(u16, u16, (usize, usize)), String> {
        let mut options = Options::new("vc");
        for (name, value) in given {
            options.set(name, OptionValue::Int(*value));
        }
        let (size, pixels) = size(&options).map_err(|error| error.to_string())?;
        Ok((size.cols(), size.rows(), pixels))
    }

    #[test]
    fn sizes_are_in_pixels_or_in_cells() {
        for (given, expected) in [
            (&[][..], (80, 24, (640, 384))),
            (&[("cols", 132), ("rows", 50)], (132, 50, (1056, 800))),
            (&[("width", 800), ("height", 600)], (100, 37, (800, 600))),
            (&[("width", 805), ("rows", 2)], (100, 2, (805, 32))),
            (
                &[("width", 800), ("cols", 10), ("rows", 2)],
                (100, 2, (800, 32)),
            ),
            // One of the two is none, as in QEMU.
            (&[("cols", 40)], (80, 24, (640, 384))),
            (&[("cols", 0), ("rows", 0)], (80, 24, (640, 384))),
            (
                &[("width", 0), ("cols", 40), ("rows", 2)],
                (80, 24, (640, 384)),
            ),
            (&[("cols", 512), ("rows", 256)], (512, 256, (4096, 4096))),
            (&[("cols", 1), ("rows", 1)], (1, 1, (8, 16))),
        ] {
            assert_eq!(sized(given), Ok(expected), "{given:?}");
        }
    }

    #[test]
    fn sizes_that_end_qemu_are_refused() {
        for (given, words) in [
            (
                ("width", -1),
                "Parameter 'width' expects a number from 8 to 4096",
            ),
            (
                ("width", 7),
                "Parameter 'width' expects a number from 8 to 4096",
            ),
            (
                ("height", 15),
                "Parameter 'height' expects a number from 16 to 4096",
            ),
            (
                ("height", 4097),
                "Parameter 'height' expects a number from 16 to 4096",
            ),
            (
                ("cols", 513),
                "Parameter 'cols' expects a number from 1 to 512",
            ),
            (
                ("rows", 257),
                "Parameter 'rows' expects a number from 1 to 256",
            ),
            (
                ("rows", i64::MAX),
                "Parameter 'rows' expects a number from 1 to 256",
            ),
            (
                ("cols", i64::MIN),
                "Parameter 'cols' expects a number from 1 to 512",
            ),
        ] {
            assert_eq!(sized(&[given]), Err(words.to_owned()), "{given:?}");
        }
    }
}

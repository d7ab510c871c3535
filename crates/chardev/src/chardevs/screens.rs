//! front → [chardev] → back → host: what consoles show, and their keys.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use chardev_core::{Epoch, ViewFrom};
use chardev_screen::{Picture, Screen, Size, Snapshot};

use super::Chardevs;
use crate::back::vc::{Console, WantedConsole};
use crate::back::{Access, FDSET, FdSource, open_set};
use crate::input_events::{InputError, InputEvent};
use crate::{disk, offload};

/// How much of a history is gone through for what it leaves on a screen.
const HISTORY_PIECE: usize = 1 << 20;

/// What a console shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShownScreen {
    /// Its cells, cursor and title.
    pub shown: Snapshot,
    /// Escape sequences that make a terminal of its size show the same
    /// ([`Screen::redraw`](chardev_screen::Screen::redraw)).
    pub redraw: String,
    /// The absolute offset of the first byte of output that it does not show yet.
    pub offset: u64,
    /// Which life of the console that offset is of, where it is one that is there.
    pub epoch: Option<Epoch>,
    /// It is what is left of a history, not the screen of a `vc`.
    pub from_history: bool,
}

impl ShownScreen {
    /// What this output, which begins at the offset `start`, leaves on a screen of this size. It
    /// computes for as long as the output is.
    pub fn of_output(output: &[u8], start: u64, size: Size) -> Self {
        let mut screen = Screen::new(size);
        screen.feed_all(match start {
            0 => output,
            // What comes first may be the end of a sequence.
            _ => from_line(output),
        });
        ShownScreen {
            shown: screen.snapshot(),
            redraw: screen.redraw(),
            offset: start + output.len() as u64,
            epoch: None,
            from_history: true,
        }
    }
}

/// The format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "ImageFormat")]
pub enum PictureFormat {
    /// Portable pixmap, which is uncompressed.
    Ppm,
    /// Portable network graphics.
    Png,
}

/// Why there is no screen or no picture of it.
#[derive(Debug)]
pub enum ScreenError {
    /// There is no such chardev.
    NotFound(String),
    /// There is no `vc`, and no other was named.
    NoConsole,
    /// The chardev is no `vc` and keeps no history.
    NoScreen(String),
    /// The picture could not be written.
    File {
        /// The file.
        path: String,
        /// Why not.
        cause: std::io::Error,
    },
}

impl fmt::Display for ScreenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScreenError::NotFound(id) => write!(f, "Device '{id}' not found"),
            ScreenError::NoConsole => f.write_str("There is no console to take a screendump from"),
            ScreenError::NoScreen(id) => write!(
                f,
                "'{id}' has no screen: it is no 'vc' and keeps no output, as with x-history=1M"
            ),
            ScreenError::File { path, cause } => {
                let cause = crate::sys::strerror(std::io::Error::other(cause.to_string()));
                write!(f, "failed to open file '{path}': {cause}")
            }
        }
    }
}

impl Error for ScreenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ScreenError::File { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl Chardevs {
    /// What chardev `id` shows: the screen of a `vc`, or what the kept output of another chardev
    /// ([`history`](Chardevs::history)), of which the newest mebibyte counts, leaves on a screen of
    /// this size.
    ///
    /// # Errors
    /// [`ScreenError::NotFound`] or [`ScreenError::NoScreen`].
    pub async fn screen(&self, id: &str, size: Size) -> Result<ShownScreen, ScreenError> {
        if let Some(console) = self.console(id)? {
            return Ok(self.shown_by(id, &console));
        }
        let not_found = |_| ScreenError::NotFound(id.to_owned());
        let kept = self.history(id, ViewFrom::Last(HISTORY_PIECE as u64), HISTORY_PIECE);
        let kept = kept.map_err(not_found)?;
        if kept.oldest == kept.end && !self.keeps_history(id) {
            return Err(ScreenError::NoScreen(id.to_owned()));
        }
        let work = move || ShownScreen {
            epoch: kept.epoch,
            ..ShownScreen::of_output(&kept.bytes, kept.start, size)
        };
        Ok(offload::offload(self.shared.runtime(), work).await)
    }

    /// Writes a picture of what chardev `id` shows to the file `path`, or of the oldest `vc`
    /// (`screendump`). A file that is there is replaced at once, as a whole, or stays as it is.
    /// The path may be one of a set of descriptors in `fds`.
    ///
    /// # Errors
    /// There is no such console, or the file cannot be written.
    #[doc(alias = "screendump")]
    pub async fn save_screen(
        &self,
        id: Option<&str>,
        path: &Path,
        format: PictureFormat,
        fds: Arc<dyn FdSource>,
    ) -> Result<(), ScreenError> {
        let (shown, pixels) = match id {
            Some(id) => self.shown_with_pixels(id).await?,
            None => {
                let ids = self.list().into_iter().filter(|info| info.kind == "vc");
                let id = ids.map(|info| info.label).next();
                let id = id.ok_or(ScreenError::NoConsole)?;
                self.shown_with_pixels(&id).await?
            }
        };
        let file = path.to_owned();
        let work = move || save(&file, &shown, pixels, format, &*fds);
        let saving = offload::offload_open(self.shared.runtime(), work).await;
        let saved = saving.unwrap_or_else(|many| Err(std::io::Error::other(many.to_string())));
        saved.map_err(|cause| ScreenError::File {
            path: path.display().to_string(),
            cause,
        })
    }

    /// Lets a user do something to the input device that the back end of chardev `id` is, or to the
    /// only one there is for that: press a key of a `vc` (`send-key`).
    ///
    /// # Errors
    /// There is no such device, or none is named and there are several; or one has no room for all
    /// of it.
    #[doc(alias = "send-key")]
    pub fn send_input(&self, id: Option<&str>, events: &[InputEvent]) -> Result<(), InputError> {
        self.shared.input_events().send_to_only(id, events)
    }

    async fn shown_with_pixels(
        &self,
        id: &str,
    ) -> Result<(Snapshot, Option<(usize, usize)>), ScreenError> {
        let pixels = self.console(id)?.map(|console| console.pixels());
        let screen = self.screen(id, Size::DEFAULT).await?;
        Ok((screen.shown, pixels))
    }

    /// The console that is the back end of chardev `id`, be it under a multiplexer.
    fn console(&self, id: &str) -> Result<Option<Arc<Console>>, ScreenError> {
        let mut id = id.to_owned();
        loop {
            let chardev = self.registry.get(&id);
            let chardev = chardev.ok_or_else(|| ScreenError::NotFound(id.clone()))?;
            let (lent, below) = chardev.with(|chardev| {
                let options = chardev.options().filter(|_| chardev.mux().is_some());
                let below = options.and_then(|options| options.str("chardev"));
                let below = below.map(str::to_owned);
                let is_console = chardev.kind() == "vc";
                (is_console.then(|| chardev.lend(&WantedConsole)), below)
            });
            match below {
                Some(below) => id = below,
                None => {
                    let console = lent.flatten().and_then(|lent| lent.downcast().ok());
                    return Ok(console.map(|console| *console));
                }
            }
        }
    }

    /// Looked at under the chardev's lock, so that the offset belongs to what is shown.
    fn shown_by(&self, id: &str, console: &Console) -> ShownScreen {
        let look = |epoch: Option<Epoch>, offset| {
            let screen = console.screen();
            ShownScreen {
                shown: screen.snapshot(),
                redraw: screen.redraw(),
                offset,
                epoch,
                from_history: false,
            }
        };
        match self.registry.get(id) {
            Some(chardev) => {
                chardev.with(|chardev| look(chardev.epoch(), chardev.stats().output_accepted))
            }
            None => look(None, 0),
        }
    }

    fn keeps_history(&self, id: &str) -> bool {
        let chardev = self.registry.get(id);
        chardev.is_some_and(|chardev| chardev.with(|chardev| chardev.keeps_scrollback()))
    }
}

/// What comes after the first line's end.
fn from_line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.map_or(bytes, |end| &bytes[end + 1..])
}

fn save(
    path: &Path,
    shown: &Snapshot,
    pixels: Option<(usize, usize)>,
    format: PictureFormat,
    fds: &dyn FdSource,
) -> std::io::Result<()> {
    let picture = match pixels {
        Some((width, height)) => Picture::sized(shown, width, height),
        None => Picture::of(shown),
    };
    let file = match format {
        PictureFormat::Png => picture.png()?,
        PictureFormat::Ppm => picture.ppm(),
    };
    let set = path.to_str().filter(|path| path.starts_with(FDSET));
    match set.and_then(|path| open_set(path, Access::Write, false, fds)) {
        Some(fd) => disk::write_all(fd?, &file),
        None => disk::replace(path, &file),
    }
}

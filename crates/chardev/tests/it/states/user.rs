//! back ◀── [user]: whoever presses keys, moves a mouse or a pen, and what is to be read of that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use chardev::{Axis, Chardevs, InputError, InputEvent, ModemLines};

use crate::common::{add, hold, input, wait_for};

/// The pause between what a user does who never stops.
const PAUSE: Duration = Duration::from_micros(100);
const KEYS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// What a user has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Toy {
    Vc,
    Mouse,
    Tablet,
}

impl Toy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Toy::Vc => "vc",
            Toy::Mouse => "msmouse",
            Toy::Tablet => "wctablet",
        }
    }
}

/// What a mouse says when it gets current.
pub(super) fn name_of_a_mouse() -> Vec<u8> {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &hold("msmouse"));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    front.set_modem(ModemLines::DTR | ModemLines::RTS);
    wait_for("its name", || {
        Some(input(&front)).filter(|it| !it.is_empty())
    })
}

/// Where the pen is for the `count`th time, in steps that are no smaller than the tablet's lines.
fn place(count: usize) -> [i64; 2] {
    const ROW: usize = 4600;
    let count = count as i64;
    [count % ROW as i64 * 7, count / ROW as i64 * 9]
}

/// What a tablet reports of that.
pub(super) fn report(count: usize) -> [u8; 7] {
    let [x, y] = place(count);
    let [x, y] = [x * 1537 / 10_000, y * 1152 / 10_000];
    let [high, low] = [|at: i64| (at >> 7) as u8, |at: i64| (at & 0x7f) as u8];
    [0xe0, high(x), low(x), 0, high(y), low(y), 0]
}

/// What was done, as far as nobody refused it.
#[derive(Default)]
struct Done {
    count: usize,
    keys: Vec<u8>,
    way: i64,
}

/// A user at one back end.
pub(super) struct Doing {
    toy: Toy,
    chardevs: Chardevs,
    done: Arc<Mutex<Done>>,
    ends: Arc<AtomicBool>,
    flood: Mutex<Option<JoinHandle<()>>>,
}

impl Doing {
    pub(super) fn new(chardevs: &Chardevs, toy: Toy) -> Self {
        Doing {
            toy,
            chardevs: chardevs.clone(),
            done: Arc::default(),
            ends: Arc::default(),
            flood: Mutex::default(),
        }
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap()
    }

    pub(super) fn act(&self, times: usize) {
        for _ in 0..times {
            act(&self.chardevs, self.toy, &mut self.done()).unwrap();
        }
    }

    /// The user goes on and on, until the back end has gone.
    pub(super) fn flood(&self) {
        let (chardevs, toy) = (self.chardevs.clone(), self.toy);
        let (done, ends) = (Arc::clone(&self.done), Arc::clone(&self.ends));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                match act(&chardevs, toy, &mut done.lock().unwrap()) {
                    Ok(()) | Err(InputError::Full(_)) => {}
                    Err(_) => return,
                }
                std::thread::park_timeout(PAUSE);
            }
        });
        let began = self.done().count;
        wait_for("a flood", || (self.done().count > began + 20).then_some(()));
        *self.flood.lock().unwrap() = Some(thread);
    }

    /// The back end has gone.
    pub(super) fn finish(&self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.flood.lock().unwrap().take() {
            thread.join().unwrap();
        }
    }

    /// All that was done was read, from the beginning of `input` on; what comes behind it.
    pub(super) fn check<'a>(&self, input: &'a [u8], name: &[u8]) -> Result<&'a [u8], String> {
        let done = self.done();
        match self.toy {
            Toy::Vc => {
                let rest = input.strip_prefix(&done.keys[..]);
                rest.ok_or_else(|| format!("{} keys are not there", done.keys.len()))
            }
            Toy::Mouse => {
                let mut rest = input.strip_prefix(name).ok_or("a mouse has no name")?;
                let mut way = 0;
                while way < done.way {
                    let Some(([high, low, 0], behind)) = rest.split_first_chunk() else {
                        return Err(format!("a mouse went {way}, not {}", done.way));
                    };
                    way += i64::from(high & 3) << 6 | i64::from(*low);
                    rest = behind;
                }
                match way - done.way {
                    0 => Ok(rest),
                    more => Err(format!("a mouse went {more} too far")),
                }
            }
            Toy::Tablet => {
                let (mut at, mut rest) = (0, input);
                while let Some((said, behind)) = rest.split_first_chunk() {
                    let Some(next) = (at..=done.count).find(|next| report(*next) == *said) else {
                        break;
                    };
                    (at, rest) = (next, behind);
                }
                match done.count - at {
                    0 => Ok(rest),
                    more => Err(format!("a pen misses its last {more} places")),
                }
            }
        }
    }
}

/// Does one thing more.
fn act(chardevs: &Chardevs, toy: Toy, done: &mut Done) -> Result<(), InputError> {
    let count = done.count + 1;
    let key = |down| {
        let name = KEYS[count % KEYS.len()].to_owned();
        [InputEvent::Key { name, down }]
    };
    match toy {
        Toy::Vc => {
            chardevs.send_input_frame(Some("con0"), &key(true))?;
            done.keys.extend(KEYS[count % KEYS.len()].as_bytes());
            // What is let go types nothing.
            let _ = chardevs.send_input_frame(Some("con0"), &key(false));
        }
        Toy::Mouse => {
            let by = count as i64 % 60 + 1;
            let axis = Axis::X;
            chardevs.send_input_frame(Some("con0"), &[InputEvent::Moved { axis, by }])?;
            done.way += by;
        }
        Toy::Tablet => {
            let [x, y] = place(count);
            let placed = [(Axis::X, x), (Axis::Y, y)];
            let placed = placed.map(|(axis, at)| InputEvent::Placed { axis, at });
            chardevs.send_input_frame(Some("con0"), &placed)?;
        }
    }
    done.count = count;
    Ok(())
}

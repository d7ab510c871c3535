//! What must hold for a whole monitor, from the bytes to chardevs that are really added, changed
//! and removed: an answer to a probe in the end, no panic, no step that hangs, little memory, and
//! nothing left over.
//!
//! Every command and every kind of back end is carried out for real, in a world of the test's own
//! (`confine`, `world`); front ends and peers write, read and leave in between. `script` makes
//! commands out of bytes, `limits` says how time and memory are measured.

mod confine;
pub(crate) mod limits;
mod script;
mod stage;
pub(crate) mod world;

use std::cell::Cell;

use limits::Limits;
use script::Choices;
use stage::Stage;
use world::world;

/// How many steps one input has at most.
const STEPS: usize = 60;
/// How long a piece of input becomes that is repeated, once in an input; each key of a person may
/// cost as much as the line is long.
const REPEATED: usize = 16 << 10;
const REPEATED_KEYS: usize = 2 << 10;
/// After how many inputs everything must have come to rest.
const ROUND: usize = 500;

/// The first two bytes say what kind of monitor it is and how it is talked to; the rest is a
/// script.
pub(crate) fn run(data: &[u8]) {
    let [head, cut, script @ ..] = data else {
        return;
    };
    limits::hold(|limits| play(*head, 1 + usize::from(*cut), script, limits));
}

fn play(head: u8, cut: usize, script: &[u8], limits: &Limits) {
    let world = world();
    let is_human = head & 6 == 6;
    let mut stage = Stage::new(world, limits, is_human, head & 1 != 0);
    if head & 2 == 0 {
        stage.send(b"{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}");
    }
    if head & 8 != 0 {
        stage.set_up();
    }
    if head & 16 != 0 {
        stage.set_up_devices();
    }
    let mut choices = Choices(script);
    let (mut steps, mut repeated) = (0, false);
    while !choices.0.is_empty() && steps < STEPS {
        steps += 1;
        act(&mut stage, &mut choices, cut, &mut repeated);
    }
    if !is_human {
        // Whatever came before, a bad byte and a newline are a fresh start.
        stage.send(b"\xff\n");
        let answer = stage.send(b"{'execute':'nosuch','id':'probe'}");
        assert!(answer.contains("\"probe\""), "no answer in the end");
    }
    stage.turn();
    drop(stage);
    world.clean(limits);
    thread_local! { static PLAYED: Cell<usize> = const { Cell::new(0) } }
    PLAYED.set(PLAYED.get() + 1);
    if PLAYED.get() % ROUND == 0 {
        world.settle();
        limits::check_leftovers();
    }
}

/// One step of a script.
fn act(stage: &mut Stage<'_>, choices: &mut Choices<'_>, cut: usize, repeated: &mut bool) {
    let kind = choices.next();
    match kind & 15 {
        0..=2 => stage.say(&script::request(choices), cut),
        3 => stage.say(&script::touch(choices), cut),
        4..=6 => stage.say(&script::change(choices), cut),
        7 => {
            let line = script::line(choices);
            stage.say_to_human(&line, cut);
        }
        8..=10 => stage.act_as_front_end(choices),
        11..=13 => stage.act_as_peer(choices),
        14 => stage.turn(),
        _ => {
            let count = 1 + choices.next();
            let piece = choices.take(count);
            let times = match kind >> 4 {
                15 if !std::mem::replace(repeated, true) => stage.repeated() / piece.len().max(1),
                14 => 8,
                _ => 1,
            };
            stage.say_bytes(&piece.repeat(times), cut);
        }
    }
}

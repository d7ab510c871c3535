//! Changes in every state of the old peer, between all kinds, against real descriptors under load
//! in both directions. `docs/guarantees.md` has the result; `cargo xtask guarantees --write`
//! writes it, and these tests fail when the table there is not the one they made.

#[allow(dead_code, reason = "the test of killed peers uses the rest")]
pub(crate) mod device;
mod peer;
mod stream;
mod table;
mod walk;

use self::table::{check, check_escaped};
use self::walk::State;

#[test]
fn the_peer_reads_and_sends() {
    check("reads", State::Reads);
}

#[test]
fn the_peer_has_stalled() {
    check("stalled", State::Stalled);
}

#[test]
fn the_peer_has_half_closed() {
    check("half-closed", State::HalfClosed);
}

#[test]
fn the_peer_has_left_with_output_unread() {
    check("left", State::Left);
}

#[test]
fn no_peer_has_come() {
    check("absent", State::Absent);
}

#[test]
fn the_peer_never_stops_sending() {
    check("floods", State::Floods);
}

#[test]
fn the_peer_reads_and_sends_through_a_layer() {
    check_escaped(State::Reads);
}

#[test]
fn the_peer_has_stalled_through_a_layer() {
    check_escaped(State::Stalled);
}

#[test]
fn the_peer_has_half_closed_through_a_layer() {
    check_escaped(State::HalfClosed);
}

#[test]
fn the_peer_has_left_with_output_unread_through_a_layer() {
    check_escaped(State::Left);
}

#[test]
fn the_peer_never_stops_sending_through_a_layer() {
    check_escaped(State::Floods);
}

#[test]
fn no_peer_has_come_to_a_layer() {
    check_escaped(State::Absent);
}

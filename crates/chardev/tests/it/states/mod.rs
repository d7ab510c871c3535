//! Changes in every state of the old peer, between all kinds, against real descriptors under load
//! in both directions. `docs/guarantees.md` has the result; `cargo xtask guarantees --write`
//! writes it, and these tests fail when the table there is not the one they made.

mod arrival;
#[allow(dead_code, reason = "the test of killed peers uses the rest")]
pub(crate) mod device;
mod peer;
mod printer;
mod speech;
mod stream;
mod table;
mod user;
mod users;
mod walk;

use self::peer::Kind;
use self::table::{check, check_layered};
use self::walk::State;
use crate::vsock::can_run;

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
fn a_user_has_acted() {
    users::check("user acts", false);
}

#[test]
fn a_user_never_stops_acting() {
    users::check("user floods", true);
}

#[test]
fn the_peer_reads_and_sends_through_a_layer() {
    check_layered(State::Reads, Kind::ESCAPED);
}

#[test]
fn the_peer_has_stalled_through_a_layer() {
    check_layered(State::Stalled, Kind::ESCAPED);
}

#[test]
fn the_peer_has_half_closed_through_a_layer() {
    check_layered(State::HalfClosed, Kind::ESCAPED);
}

#[test]
fn the_peer_has_left_with_output_unread_through_a_layer() {
    check_layered(State::Left, Kind::ESCAPED);
}

#[test]
fn the_peer_never_stops_sending_through_a_layer() {
    check_layered(State::Floods, Kind::ESCAPED);
}

#[test]
fn no_peer_has_come_to_a_layer() {
    check_layered(State::Absent, Kind::ESCAPED);
}

#[test]
fn the_peer_reads_and_sends_in_websocket_and_tls() {
    check_layered(State::Reads, Kind::DRESSED);
}

#[test]
fn the_peer_has_stalled_in_websocket_and_tls() {
    check_layered(State::Stalled, Kind::DRESSED);
}

#[test]
fn the_peer_has_half_closed_in_websocket_and_tls() {
    check_layered(State::HalfClosed, Kind::DRESSED);
}

#[test]
fn the_peer_has_left_with_output_unread_in_websocket_and_tls() {
    check_layered(State::Left, Kind::DRESSED);
}

#[test]
fn the_peer_never_stops_sending_in_websocket_and_tls() {
    check_layered(State::Floods, Kind::DRESSED);
}

#[test]
fn no_peer_has_come_in_websocket_and_tls() {
    check_layered(State::Absent, Kind::DRESSED);
}

#[test]
fn the_peer_reads_and_sends_in_telnet_and_rfc2217() {
    check_layered(State::Reads, Kind::TERMINALS);
}

#[test]
fn the_peer_has_stalled_in_telnet_and_rfc2217() {
    check_layered(State::Stalled, Kind::TERMINALS);
}

#[test]
fn the_peer_has_half_closed_in_telnet_and_rfc2217() {
    check_layered(State::HalfClosed, Kind::TERMINALS);
}

#[test]
fn the_peer_has_left_with_output_unread_in_telnet_and_rfc2217() {
    check_layered(State::Left, Kind::TERMINALS);
}

#[test]
fn the_peer_never_stops_sending_in_telnet_and_rfc2217() {
    check_layered(State::Floods, Kind::TERMINALS);
}

#[test]
fn no_peer_has_come_in_telnet_and_rfc2217() {
    check_layered(State::Absent, Kind::TERMINALS);
}

#[test]
fn the_peer_reads_and_sends_over_dbus() {
    check_layered(State::Reads, Kind::REGISTERED);
}

#[test]
fn the_peer_has_stalled_over_dbus() {
    check_layered(State::Stalled, Kind::REGISTERED);
}

#[test]
fn the_peer_has_half_closed_over_dbus() {
    check_layered(State::HalfClosed, Kind::REGISTERED);
}

#[test]
fn the_peer_has_left_with_output_unread_over_dbus() {
    check_layered(State::Left, Kind::REGISTERED);
}

#[test]
fn the_peer_never_stops_sending_over_dbus() {
    check_layered(State::Floods, Kind::REGISTERED);
}

#[test]
fn no_peer_has_come_over_dbus() {
    check_layered(State::Absent, Kind::REGISTERED);
}

#[test]
fn the_peer_reads_and_sends_over_multipath_tcp() {
    check_over_multipath(State::Reads);
}

#[test]
fn the_peer_has_stalled_over_multipath_tcp() {
    check_over_multipath(State::Stalled);
}

#[test]
fn the_peer_has_half_closed_over_multipath_tcp() {
    check_over_multipath(State::HalfClosed);
}

#[test]
fn the_peer_has_left_with_output_unread_over_multipath_tcp() {
    check_over_multipath(State::Left);
}

#[test]
fn the_peer_never_stops_sending_over_multipath_tcp() {
    check_over_multipath(State::Floods);
}

#[test]
fn no_peer_has_come_over_multipath_tcp() {
    check_over_multipath(State::Absent);
}

fn check_over_multipath(state: State) {
    match peer::mptcp() {
        Ok(_) => check_layered(state, Kind::MULTIPATH),
        Err(error) => eprintln!("SKIPPED: changes of mptcp, {state:?}; no Multipath TCP: {error}"),
    }
}

#[test]
fn the_peer_reads_and_sends_over_vsock() {
    check_over_vsock(State::Reads);
}

#[test]
fn the_peer_has_stalled_over_vsock() {
    check_over_vsock(State::Stalled);
}

#[test]
fn the_peer_has_half_closed_over_vsock() {
    check_over_vsock(State::HalfClosed);
}

#[test]
fn the_peer_has_left_with_output_unread_over_vsock() {
    check_over_vsock(State::Left);
}

#[test]
fn the_peer_never_stops_sending_over_vsock() {
    check_over_vsock(State::Floods);
}

#[test]
fn no_peer_has_come_over_vsock() {
    check_over_vsock(State::Absent);
}

fn check_over_vsock(state: State) {
    if can_run(&format!("changes of vsock, {state:?}")) {
        check_layered(state, Kind::MACHINES);
    }
}

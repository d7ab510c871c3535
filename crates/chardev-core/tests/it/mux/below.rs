//! What front ends on a multiplexer have of the chardev below.

use chardev_core::{Answer, Event, ModemLines, Parity, SerialParams};

use super::MuxRig;
use crate::rig::everything;

#[test]
fn the_line_below_is_the_one_of_the_focus_and_open_for_any() {
    let rig = MuxRig::new();
    rig.peer.world().serial = Some(ModemLines::CTS);
    let at = |speed| SerialParams {
        speed,
        parity: Parity::None,
        data_bits: 8,
        stop_bits: 1,
    };
    let speed = || rig.peer.world().line.serial.map(|serial| serial.speed);
    assert_eq!(rig.first.set_serial(at(300)), Answer::Unsupported);
    assert_eq!(speed(), None);
    assert_eq!(rig.second.set_serial(at(9600)), Answer::Done);
    assert_eq!(speed(), Some(9600));
    rig.first.take_focus();
    assert_eq!(speed(), Some(300));
    assert_eq!(everything(&rig.second), "<Opened><MuxIn><MuxOut>");

    let shown = |at: usize| rig.chardevs[at].with(|chardev| chardev.frontend_open());
    assert!(!rig.peer.world().line.open && !shown(0));
    rig.second.set_open(true);
    assert!(rig.peer.world().line.open && shown(0) && shown(1));
}

#[test]
fn what_the_chardev_below_can_do_all_can_but_for_passing_descriptors() {
    let rig = MuxRig::new();
    assert_eq!(rig.first.modem_inputs(), None);
    rig.peer.world().serial = Some(ModemLines::CTS);
    for front in [&rig.first, &rig.second] {
        assert_eq!(front.modem_inputs(), Some(ModemLines::CTS));
        // Nobody could tell whose they were.
        assert!(!front.pass_fds(Vec::new()));
    }
    rig.first.disconnect();
    assert!(rig.peer.world().disconnected);
    let shown = rig.chardevs[0].with(|slot| (slot.kind(), slot.filename()));
    assert_eq!(shown, ("mux", "mux".to_owned()));
}

#[test]
fn a_break_goes_to_the_focus_whichever_front_end_it_is_sent_to() {
    let rig = MuxRig::new();
    rig.chardevs[0].with(|chardev| chardev.send_break());
    assert_eq!(everything(&rig.first), "<Opened><MuxIn><MuxOut>");
    assert_eq!(everything(&rig.second), "<Opened><MuxIn><Break>");
    // With nobody at the multiplexer it is the chardev's own affair: nobody takes it.
    let rig = MuxRig::new();
    drop((rig.first, rig.second));
    rig.chardevs[0].with(|chardev| {
        chardev.send_break();
        assert_eq!(chardev.stats().breaks_dropped, 1);
    });
}

#[test]
fn a_terminal_that_changes_its_size_tells_all() {
    let rig = MuxRig::new();
    everything(&rig.first);
    everything(&rig.second);
    let (cols, rows) = (80, 25);
    let size = chardev_core::TerminalSize { cols, rows };
    rig.base.with(|base| base.resize(size));
    rig.settle();
    for front in [&rig.first, &rig.second] {
        assert_eq!(front.next_event(), Some(Event::Resized(size)));
        assert_eq!(front.size(), Some(size));
    }
}

//! What a front end is told, in order with its input.

use crate::line::{Answers, ModemChange, PurgeRequest, SerialRequest, TerminalSize};

/// An event for a front end. A closed set, read from a queue; nobody stores a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is there, or the back end became ready. Never twice without [`Event::Closed`]
    /// between.
    #[doc(alias = "CHR_EVENT_OPENED")]
    Opened,
    /// The peer is gone; all it had sent has been read. Always after an [`Event::Opened`].
    #[doc(alias = "CHR_EVENT_CLOSED")]
    Closed,
    /// A break condition was received, or sent by `chardev-send-break`.
    #[doc(alias = "CHR_EVENT_BREAK")]
    Break,
    /// A multiplexer gave this front end the focus.
    #[doc(alias = "CHR_EVENT_MUX_IN")]
    MuxIn,
    /// A multiplexer is about to take the focus away.
    #[doc(alias = "CHR_EVENT_MUX_OUT")]
    MuxOut,
    /// The peer's terminal has this size now.
    Resized(TerminalSize),
    /// The back end was replaced; the front end redoes what depends on the answers.
    ///
    /// It comes after all input of the old peer. If the old one had a peer and the new one has none
    /// yet, [`Event::Closed`] comes just before it; if only the new one has a peer,
    /// [`Event::Opened`] comes after it; if both have one, neither comes.
    Changed(Answers),
    /// The answers as they stand now that the peer has given those that were
    /// [`Answer::Pending`](crate::Answer::Pending).
    LineAnswered(Answers),
    /// The peer wants another serial line set up; only after
    /// [`FrontEnd::watch_serial`](crate::FrontEnd::watch_serial).
    SerialAsked(SerialRequest),
    /// The peer wants another serial line purged; only after
    /// [`FrontEnd::watch_serial`](crate::FrontEnd::watch_serial).
    PurgeAsked(PurgeRequest),
    /// What [`FrontEnd::purge`](crate::FrontEnd::purge) was to throw away is gone.
    Purged,
    /// Modem inputs have changed; only after
    /// [`FrontEnd::watch_modem`](crate::FrontEnd::watch_modem) or
    /// [`FrontEnd::modem_inputs`](crate::FrontEnd::modem_inputs).
    Modem(ModemChange),
}

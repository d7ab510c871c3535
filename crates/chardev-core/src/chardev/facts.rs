//! What can be asked of a chardev.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::{Chardev, ChardevRef, Given, LogControl};
use crate::backend::BackendId;
use crate::hub::Hub;
use crate::line::TerminalSize;

use crate::mux::Mux;
use crate::policy::Policy;
use crate::spec::Options;
use crate::stats::Stats;
use crate::times::ChangeTimes;

impl Chardev {
    /// The id it was created with.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The id of the back end in the slot.
    pub fn backend_id(&self) -> BackendId {
        self.id
    }

    /// Keeps something with the chardev for whoever gives it its back ends, such as which thread
    /// they are served by: this crate does not look at it.
    #[doc(hidden)]
    pub fn keep_for_host(&mut self, kept: Arc<dyn Any + Send + Sync>) {
        self.kept_for_host = Some(kept);
    }

    /// What is kept by [`Chardev::keep_for_host`].
    #[doc(hidden)]
    pub fn kept_for_host(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.kept_for_host.clone()
    }

    /// The chardevs that the back end in the slot rests on.
    #[doc(hidden)]
    pub fn members(&self) -> Vec<ChardevRef> {
        self.backend.members()
    }

    /// The kind of the back end in the slot.
    pub fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    /// The name of the back end in the slot (QEMU's `filename`).
    pub fn filename(&self) -> String {
        self.backend.filename()
    }

    /// Whether the back end in the slot is open: see
    /// [`FrontEnd::is_open`](crate::FrontEnd::is_open).
    pub fn is_open(&self) -> bool {
        self.backend.is_open()
    }

    /// The slave's path, where the back end in the slot is a pty.
    pub fn pty(&mut self) -> Option<String> {
        self.backend.pty()
    }

    /// Whether [`Chardev::yank`] would find a connection.
    pub fn is_yankable(&mut self) -> bool {
        self.backend.yankable()
    }

    /// The multiplexer in the slot, for those who make one.
    #[doc(hidden)]
    pub fn mux(&self) -> Option<&Mux> {
        self.backend.as_mux()
    }

    /// The hub in the slot, for those who make one.
    #[doc(hidden)]
    pub fn hub(&self) -> Option<&Hub> {
        self.backend.as_hub()
    }

    /// Whether a front end is attached and open (QEMU's `frontend-open`).
    pub fn frontend_open(&self) -> bool {
        self.line.open || self.backend.as_mux().is_some_and(Mux::is_line_open)
    }

    /// Whether a front end is attached to this very chardev. A slot of a multiplexer that has lost
    /// its front end is about to go, and concerns nobody.
    pub fn has_front_end(&self) -> bool {
        self.front.is_some()
    }

    /// Whether nothing rests on it and it rests on nothing.
    pub(crate) fn is_free(&self) -> bool {
        self.front.is_none() && self.backend.as_mux().is_none()
    }

    /// Whether a front end is attached, be it over a multiplexer.
    pub(crate) fn is_used(&self) -> bool {
        self.front.is_some() || self.backend.as_mux().is_some_and(|mux| mux.attached() > 0)
    }

    /// The options that make it what it is now: those it was made with, as changes of its back end
    /// and of its policy have left them. `None` if nobody said ([`Chardev::set_options`]).
    pub fn options(&self) -> Option<&Options> {
        self.options.as_ref()
    }

    /// Says what it was made with.
    pub fn set_options(&mut self, options: Options) {
        self.options = Some(options.after(None));
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// What can be done to the log, if there is one.
    pub fn log_control(&self) -> Option<Arc<dyn LogControl>> {
        self.log.as_ref()?.control()
    }

    /// Notes how long a change took, for [`Chardev::change_times`].
    pub fn note_change_time(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// How long the last changes took; `None` before the first.
    pub fn change_times(&self) -> Option<ChangeTimes> {
        self.times.summary()
    }

    /// Input bytes that outlived their source and wait for the front end.
    pub fn input_pending(&self) -> usize {
        self.input.bytes()
    }

    /// The size of the terminal at its other end, if that is known.
    pub fn terminal_size(&self) -> Option<TerminalSize> {
        self.size
    }

    /// Which output the back end in the slot is given.
    pub fn given(&self) -> Given {
        self.given
    }

    /// Bytes that wait for the disk on their way to the log.
    pub fn log_pending(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.pending())
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }
}

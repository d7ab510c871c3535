//! What the machine asks of any back end, and the answer it assumes where a kind lacks that facet.

use std::any::Any;
use std::os::fd::OwnedFd;

use super::{Accepted, Backend, Group, Presence};
use crate::chardev::ChardevRef;
use crate::error::OpenError;
use crate::hub::Hub;
use crate::line::{Answer, Answers, Line, ModemLines, Purge};
use crate::mux::Mux;
use crate::ringbuf::RingBuffer;

impl dyn Backend + '_ {
    pub(crate) fn apply(&mut self, line: &Line) -> Answers {
        match self.line() {
            Some(control) => control.apply(line),
            None => Answers::unsupported(line, self.is_open()),
        }
    }

    pub(crate) fn modem_inputs(&mut self) -> Option<ModemLines> {
        self.line()?.modem_inputs()
    }

    pub(crate) fn purge(&mut self, which: Purge) -> Answer {
        self.line()
            .map_or(Answer::Unsupported, |line| line.purge(which))
    }

    pub(crate) fn send_break(&mut self) -> bool {
        self.line().is_some_and(|line| line.send_break())
    }

    pub(crate) fn peer(&mut self) -> Option<String> {
        self.peers()?.peer()
    }

    pub(crate) fn peer_names(&mut self) -> Vec<String> {
        self.peers().map_or_else(Vec::new, |peers| peers.names())
    }

    pub(crate) fn pty(&mut self) -> Option<String> {
        self.peers()?.pty()
    }

    pub(crate) fn presence(&mut self) -> Presence {
        self.peers()
            .map_or(Presence::There, |peers| peers.presence())
    }

    pub(crate) fn input_ended(&mut self) -> bool {
        self.peers().is_some_and(|peers| peers.input_ended())
    }

    pub(crate) fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.peers().map_or_else(Vec::new, |peers| peers.take_fds())
    }

    pub(crate) fn disconnect(&mut self) {
        if let Some(peers) = self.peers() {
            peers.disconnect();
        }
    }

    pub(crate) fn accept(&mut self, serving: usize) -> Option<Accepted> {
        self.peers()?.accept(serving)
    }

    pub(crate) fn accept_limit(&mut self) -> Option<usize> {
        self.peers()?.accept_limit()
    }

    pub(crate) fn yankable(&mut self) -> bool {
        self.peers().is_some_and(|peers| peers.yankable())
    }

    pub(crate) fn add_client(&mut self, fd: OwnedFd) -> Result<(), OwnedFd> {
        match self.peers() {
            Some(peers) => peers.add_client(fd),
            None => Err(fd),
        }
    }

    pub(crate) fn buffer(&mut self) -> Option<&mut RingBuffer> {
        Some(self.ring()?.buffer())
    }

    pub(crate) fn take_overwritten(&mut self) -> u64 {
        self.ring().map_or(0, |ring| ring.take_overwritten())
    }

    pub(crate) fn members(&self) -> Vec<ChardevRef> {
        self.group().map_or_else(Vec::new, Group::members)
    }

    pub(crate) fn as_mux(&self) -> Option<&Mux> {
        self.group()?.as_mux()
    }

    pub(crate) fn as_hub(&self) -> Option<&Hub> {
        self.group()?.as_hub()
    }

    pub(crate) fn take_focus(&self) {
        if let Some(group) = self.group() {
            group.take_focus();
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.group().is_some_and(Group::is_under_way)
    }

    pub(crate) fn mark(&self, mark: u64) -> bool {
        self.group().is_some_and(|group| group.mark(mark))
    }

    pub(crate) fn take_cut_breaks(&self) -> u64 {
        self.group().map_or(0, Group::take_cut_breaks)
    }

    pub(crate) fn activate(&mut self) -> Result<(), OpenError> {
        self.sharing().map_or(Ok(()), |sharing| sharing.activate())
    }

    pub(crate) fn deactivate(&mut self) {
        if let Some(sharing) = self.sharing() {
            sharing.deactivate();
        }
    }

    /// What [`Sharing::lend`](super::Sharing::lend) gives, of a kind that has anything to share.
    pub fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        self.sharing()?.lend(wanted)
    }

    pub(crate) fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        self.sharing().is_some_and(|sharing| sharing.adopt(old))
    }

    pub(crate) fn hand_over(mut self: Box<Self>) {
        if let Some(sharing) = self.sharing() {
            sharing.hand_over();
        }
    }
}

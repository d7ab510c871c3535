//! Clients come and go, one after the other or several at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use super::Monitor;
use super::strange::Strange;
use crate::client::{Client, Who};

impl Monitor {
    /// Takes further clients, where the chardev may have several.
    pub(super) fn take_clients(&mut self, cx: &mut Context<'_>) -> bool {
        if self.place.is_some() || self.stopped || self.closed {
            return false;
        }
        let limit = self.front.accept_limit();
        self.post.set_limit(limit.unwrap_or(1));
        if limit.is_none() {
            return false;
        }
        self.post.wake_when_free(cx);
        let Some(place) = self.caller.service.monitors.place(&self.post) else {
            return false;
        };
        let serving = self.post.taken() - 1 + usize::from(self.connected);
        let Some(peer) = self.front.accept(serving) else {
            return false;
        };
        let place = place.used();
        let service = self.caller.service.clone();
        let strange = Strange::arriving(&peer, &service.monitors);
        let monitors = &service.monitors;
        match monitors.front_end_of(&service.chardevs, &self.label, peer) {
            Ok(front) => {
                let post = Arc::clone(&self.post);
                let mode = post.mode();
                let runtime = service.monitors.runtime().clone();
                let mut monitor = Monitor::at(post, (Some(place), None), front, mode, service);
                monitor.strange = strange;
                runtime.spawn(monitor.run());
            }
            Err(error) => tracing::warn!("monitor on '{}': {error}", self.label),
        }
        true
    }

    pub(super) fn greet(&mut self) {
        self.forget_client();
        self.caller.client = self.post.enter(self.who(), self.sponsor.clone());
        if self.place.is_some() {
            self.caller.client.set_may_carry();
        }
        self.session.handle_connect();
        self.connected = true;
        self.look_whether_strange();
    }

    /// Who is there. On standard input it is who has started us.
    fn who(&self) -> Who {
        // What comes from the program's own end of a pair of sockets is not the program's.
        if let Some(who) = self.sponsor.as_ref().and_then(|it| it.carried()) {
            return who;
        }
        let mut who = Who::of(self.front.peer());
        who.names = self.front.peer_names();
        let info = self.caller.service.chardevs.info(&self.label);
        if who.peer.is_none() && info.is_some_and(|info| info.kind == "stdio") {
            who.uid = Some(rustix::process::geteuid().as_raw());
        }
        who
    }

    pub(super) fn forget_client(&mut self) {
        if self.connected {
            self.post.leave(&self.caller.client);
            self.caller.client = Arc::new(Client::nobody());
        }
        self.session.handle_disconnect();
        self.connected = false;
        self.strange = None;
        self.running = None;
        self.overtaking.clear();
        self.unread = VecDeque::new();
        self.sent.clear();
    }
}

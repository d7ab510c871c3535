//! What the owner of a monitor sees of it, whether a program or a person is at the other end.

use chardev_qapi::{Json, QmpError};

use crate::event::Event;
use crate::session::{Lock, Request, Session, Token};

/// A conversation without I/O; see [`Session`] for what each method promises.
pub trait Conversation: Send {
    /// A client came.
    fn handle_connect(&mut self);

    /// The client left.
    fn handle_disconnect(&mut self);

    /// A multiplexer shows this front end, or another one. Programs do not care.
    fn handle_focus(&mut self, _focused: bool) {}

    /// Answers everything with `lock.refusal` but what it allows, or everything again.
    fn set_lock(&mut self, _lock: Option<Lock>) {}

    /// Takes bytes from the client and returns how many; the rest must be offered again.
    fn handle_bytes(&mut self, bytes: &[u8]) -> usize;

    /// Whether [`handle_bytes`](Conversation::handle_bytes) would take anything now.
    fn wants_input(&self) -> bool;

    /// The next request to carry out.
    fn poll_request(&mut self) -> Option<Request>;

    /// Answers a request.
    fn respond(&mut self, token: Token, result: Result<Json, QmpError>);

    /// The bytes for the client.
    fn output(&self) -> &[u8];

    /// Says that the first `count` bytes of the output were sent.
    fn consume_output(&mut self, count: usize);

    /// Tells of an event; whether the client was told.
    fn send_event(&mut self, event: &Event) -> bool;

    /// How many events the client has lost and is to be told of now.
    fn take_lost_events(&mut self) -> u64 {
        0
    }

    /// The same conversation once more, to see what an answer would look like.
    fn fork(&self) -> Box<dyn Conversation>;
}

impl Conversation for Session {
    fn fork(&self) -> Box<dyn Conversation> {
        Box::new(self.clone())
    }

    fn handle_connect(&mut self) {
        Session::handle_connect(self);
    }

    fn handle_disconnect(&mut self) {
        Session::handle_disconnect(self);
    }

    fn set_lock(&mut self, lock: Option<Lock>) {
        Session::set_lock(self, lock);
    }

    fn handle_bytes(&mut self, bytes: &[u8]) -> usize {
        Session::handle_bytes(self, bytes)
    }

    fn wants_input(&self) -> bool {
        Session::wants_input(self)
    }

    fn poll_request(&mut self) -> Option<Request> {
        Session::poll_request(self)
    }

    fn respond(&mut self, token: Token, result: Result<Json, QmpError>) {
        Session::respond(self, token, result);
    }

    fn output(&self) -> &[u8] {
        Session::output(self)
    }

    fn consume_output(&mut self, count: usize) {
        Session::consume_output(self, count);
    }

    fn send_event(&mut self, event: &Event) -> bool {
        Session::send_event(self, event)
    }

    fn take_lost_events(&mut self) -> u64 {
        Session::take_lost_events(self)
    }
}

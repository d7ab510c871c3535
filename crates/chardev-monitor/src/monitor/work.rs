//! Commands being carried out: futures beside the reading, given up when their client is gone.

use std::pin::Pin;
use std::task::{Context, Poll};

use chardev::Presence;
use chardev::spec::Options;
use chardev_qapi::{Json, QmpError};
use chardev_qmp::{Command, Request, Token};

use super::Monitor;
use crate::kinds::with_kind;
use crate::patience::Patience;
use crate::stop::Reason;

/// What the client of a command that was given up is told, in case it is there after all.
const GIVEN_UP: &str = "The command was cancelled: over TCP, a client that stops sending cannot be told from one that has disconnected; keep the connection open";

/// A command being carried out.
type Work = Pin<Box<dyn Future<Output = Result<Json, QmpError>> + Send>>;

/// A command that was begun.
pub(super) struct Running {
    token: Token,
    is_quit: bool,
    /// It replaces the monitor's own back end, whose peer gets the answer from there.
    is_own_change: bool,
    work: Work,
    result: Option<Result<Json, QmpError>>,
}

impl Monitor {
    pub(super) fn poll_command(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopped {
            return false;
        }
        let mut moved = false;
        while let Some(request) = self.session.poll_request() {
            moved = true;
            self.begin(request);
        }
        let work = self.overtaking.iter_mut().position(|running| {
            let polled = running.work.as_mut().poll(cx);
            polled
                .map(|result| running.result = Some(result))
                .is_ready()
        });
        let done = match (work, &mut self.running) {
            (Some(at), _) => self.overtaking.remove(at),
            // What the client is still owed goes before the answer, on the old connection.
            (None, Some(running)) if running.is_own_change && !self.session.output().is_empty() => {
                return moved;
            }
            (None, Some(_)) if self.waits => return moved,
            (None, Some(running)) => {
                let Poll::Ready(result) = running.work.as_mut().poll(cx) else {
                    self.waits = true;
                    return moved;
                };
                running.result = Some(result);
                match self.running.take() {
                    Some(done) => done,
                    None => return moved,
                }
            }
            (None, None) => return moved,
        };
        let result = done.result.unwrap_or_else(|| Ok(Json::empty()));
        if done.is_own_change && result.is_ok() {
            // The client has its answer; whoever is at the new back end begins anew.
            self.forget_client();
            return true;
        }
        // What a command caused is told before its answer.
        self.caller.service.forwarder.tell_now();
        self.poll_events(cx);
        if done.is_quit && result.is_ok() {
            self.caller.service.stop.request(Reason::Quit);
            self.poll_stop(cx);
        }
        // Before what the client has sent behind it is looked at.
        self.poll_proof();
        self.session.respond(done.token, result.map_err(with_kind));
        true
    }

    fn begin(&mut self, request: Request) {
        let sent = match request.command {
            Command::GetFd { .. } | Command::AddFd { .. } => self.sent.pop_front(),
            _ => None,
        };
        let is_quit = request.command == Command::Quit;
        let (is_own_change, work): (bool, Work) = match request.command {
            Command::ChardevChange { id, options } if self.is_own_change(&id, &options) => {
                (true, self.own_change(id, options, request.token))
            }
            command => (false, Box::pin(self.caller.clone().run(command, sent))),
        };
        let running = Running {
            token: request.token,
            is_quit,
            is_own_change,
            work,
            result: None,
        };
        match request.out_of_band {
            true => self.overtaking.push(running),
            false => self.running = Some(running),
        }
    }

    /// With `x-handover` the client stays, and gets its answer as ever; and so does one that was
    /// taken from the chardev.
    fn is_own_change(&self, id: &str, options: &Options) -> bool {
        id == self.label && self.place.is_none() && !options.bool_or("x-handover", false)
    }

    /// The change of the monitor's own back end: its peer, our client, is told from there.
    fn own_change(&self, id: String, options: Options, token: Token) -> Work {
        let mut answering = self.session.fork();
        let owed = answering.output().len();
        answering.consume_output(owed);
        let answer = move |answer: Json| {
            answering.respond(token, Ok(answer));
            answering.output().to_vec()
        };
        Box::pin(self.caller.clone().change_answering(id, options, answer))
    }

    /// A command must not wait for others on behalf of a client that has left; where nobody can
    /// tell whether it has, not for long.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) -> bool {
        if self.running.is_none() && self.overtaking.is_empty() {
            self.patience = Patience::default();
            return false;
        }
        if !self.patience.poll_tick(cx) {
            return false;
        }
        match self.front.presence() {
            Presence::There => self.patience.hope(),
            Presence::Gone => self.forget_client(),
            Presence::Unknown if self.patience.is_over() => {
                let running = self.running.take().into_iter();
                for given_up in running.chain(std::mem::take(&mut self.overtaking)) {
                    self.session.respond(given_up.token, Err(GIVEN_UP.into()));
                }
            }
            Presence::Unknown => {}
        }
        true
    }
}

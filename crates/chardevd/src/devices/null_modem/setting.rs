//! [front: null-modem] → chardev → back → host: one line set up as the peer of the other wants it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev::{Answer, FlowControl, FrontEnd, PurgeRequest, SerialParams, SerialRequest};

/// How a line is until somebody sets it up.
const DEFAULT: SerialRequest = SerialRequest {
    number: 0,
    params: SerialParams::USUAL,
    flow: FlowControl::None,
};

/// What one side has asked of the other.
#[derive(Debug)]
struct Asked {
    /// How the line was set up last that could be.
    known: SerialRequest,
    /// What is being set up.
    pending: Option<SerialRequest>,
    /// The request to purge that is being carried out.
    purge: Option<u64>,
}

type Side = Arc<Mutex<Asked>>;

/// What the relay of one direction knows of what was asked by its own side, and by the other.
#[derive(Debug)]
pub(super) struct Setting {
    ours: Side,
    theirs: Side,
}

impl Setting {
    /// For both directions.
    pub(super) fn pair() -> [Self; 2] {
        let side = || {
            Arc::new(Mutex::new(Asked {
                known: DEFAULT,
                pending: None,
                purge: None,
            }))
        };
        let (one, other) = (side(), side());
        let back = Setting {
            ours: Arc::clone(&other),
            theirs: Arc::clone(&one),
        };
        [
            Setting {
                ours: one,
                theirs: other,
            },
            back,
        ]
    }

    /// The peer of `from` wants the line of `to` like that.
    pub(super) fn set_up(&self, from: &FrontEnd, to: &FrontEnd, request: SerialRequest) {
        let mut asked = lock(&self.ours);
        asked.pending = Some(request);
        let answer = to.set_serial_flow(request.params, request.flow);
        asked.settle(from, to, answer);
    }

    /// The peer of `from` wants the line of `to` purged.
    pub(super) fn purge(&self, from: &FrontEnd, to: &FrontEnd, request: PurgeRequest) {
        let mut asked = lock(&self.ours);
        asked.purge = Some(request.number);
        if to.purge(request.which) != Answer::Pending {
            asked.purged(from);
        }
    }

    /// The line of the other side has been purged as its peer `from` wanted, or is there no more.
    pub(super) fn purged(&self, from: &FrontEnd) {
        lock(&self.theirs).purged(from);
    }

    /// The line of `to` has answered what the peer of `from` wants, if that has asked for anything.
    pub(super) fn line_answered(&self, from: &FrontEnd, to: &FrontEnd, answer: Answer) {
        lock(&self.theirs).settle(from, to, answer);
    }
}

impl Asked {
    fn purged(&mut self, from: &FrontEnd) {
        if let Some(number) = self.purge.take() {
            from.answer_purge(number);
        }
    }

    /// A line that is none, of a file or a socket, is whatever it is to be; one that cannot be like
    /// that stays as it was.
    fn settle(&mut self, from: &FrontEnd, to: &FrontEnd, answer: Answer) {
        let Some(request) = self.pending.filter(|_| answer != Answer::Pending) else {
            return;
        };
        self.pending = None;
        if answer == Answer::Failed {
            let known = self.known;
            to.set_serial_flow(known.params, known.flow);
        } else {
            self.known = request;
        }
        from.answer_serial(SerialRequest {
            number: request.number,
            ..self.known
        });
    }
}

fn lock(side: &Side) -> MutexGuard<'_, Asked> {
    side.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::OwnedFd;

    use chardev::{
        Answers, Backend, BackendId, ChardevRef, Closed, Drain, Line, LineControl, NothingToDrain,
        Ready, Sent,
    };

    use super::*;

    /// A line that gives this answer, and how it was set up last.
    #[derive(Clone, Default)]
    struct Wire(Arc<Mutex<(Answer, Line)>>);

    impl Backend for Wire {
        fn kind(&self) -> &'static str {
            "wire"
        }

        fn filename(&self) -> String {
            "wire".to_owned()
        }

        fn is_open(&self) -> bool {
            true
        }

        fn write(&mut self, _bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
            Sent::Full
        }

        fn read(&mut self, _bufs: &mut [IoSliceMut<'_>]) -> usize {
            0
        }

        fn watch(&mut self, _interest: Ready) {}

        fn retire(self: Box<Self>) -> Box<dyn Drain> {
            Box::new(NothingToDrain)
        }

        fn line(&mut self) -> Option<&mut dyn LineControl> {
            Some(self)
        }
    }

    impl LineControl for Wire {
        fn apply(&mut self, line: &Line) -> Answers {
            let mut wire = self.0.lock().unwrap();
            wire.1 = line.clone();
            Answers {
                serial: wire.0,
                ..Answers::unsupported(line, true)
            }
        }
    }

    fn front(wire: &Wire) -> FrontEnd {
        let backend = Box::new(wire.clone());
        let chardev = ChardevRef::new("wire", BackendId(1), backend, Closed::Hold, None);
        FrontEnd::attach(&chardev, Arc::new(())).unwrap()
    }

    #[test]
    fn what_was_asked_is_answered_with_what_the_line_is() {
        let (asker, line) = (Wire::default(), Wire::default());
        let (from, to) = (front(&asker), front(&line));
        let [setting, back] = Setting::pair();
        let ask = |number: u64, speed, answer| {
            line.0.lock().unwrap().0 = answer;
            let params = SerialParams {
                speed,
                ..DEFAULT.params
            };
            let request = SerialRequest {
                number,
                params,
                ..DEFAULT
            };
            setting.set_up(&from, &to, request);
        };
        let told = || {
            let answer = asker.0.lock().unwrap().1.serial_answer;
            answer.map(|answer| (answer.number, answer.params.speed))
        };
        let set = || line.0.lock().unwrap().1.serial.map(|params| params.speed);
        ask(1, 1, Answer::Failed);
        assert_eq!((told(), set()), (Some((1, 115_200)), Some(115_200)));
        ask(2, 9600, Answer::Done);
        assert_eq!((told(), set()), (Some((2, 9600)), Some(9600)));
        ask(3, 2, Answer::Failed);
        assert_eq!((told(), set()), (Some((3, 9600)), Some(9600)));
        ask(4, 4800, Answer::Unsupported);
        assert_eq!((told(), set()), (Some((4, 4800)), Some(4800)));
        ask(5, 300, Answer::Pending);
        back.line_answered(&from, &to, Answer::Pending);
        assert_eq!((told(), set()), (Some((4, 4800)), Some(300)));
        back.line_answered(&from, &to, Answer::Done);
        assert_eq!(told(), Some((5, 300)));
        ask(6, 3, Answer::Pending);
        back.line_answered(&from, &to, Answer::Failed);
        assert_eq!((told(), set()), (Some((6, 300)), Some(300)));
        back.line_answered(&from, &to, Answer::Done);
        assert_eq!(told(), Some((6, 300)), "nothing was asked");
    }
}

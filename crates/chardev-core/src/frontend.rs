//! [front] → chardev → back → host: what a device sees of a chardev.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::backend::{Accepted, Presence, Ready};
use crate::chardev::{Chardev, ChardevRef, Front};
use crate::error::AttachError;
use crate::event::Event;
use crate::freeze::Freeze;
use crate::line::{
    Answer, Answers, FlowControl, Line, ModemLines, Purge, SerialParams, SerialRequest,
    TerminalSize,
};
use crate::parallel::{Epp, ParallelRequest};
use crate::stats::Stats;

/// What a front end decides about changes of its back end. `()` accepts everything.
///
/// [`swappable`](FrontEndHooks::swappable) and [`backend_change`](FrontEndHooks::backend_change)
/// are asked on the thread that makes the change, with no lock held and before anything has
/// happened. [`half_close`](FrontEndHooks::half_close) and [`accepts`](FrontEndHooks::accepts) are
/// asked while the front end is being attached, under the chardev's lock: they must return at once
/// and call nothing of the chardev.
pub trait FrontEndHooks: Send + Sync {
    /// Whether the front end can live with another back end at all. `false` refuses every
    /// change with QEMU's words.
    fn swappable(&self) -> bool {
        true
    }

    /// Whether what is written answers what was read. Then a peer that ends only its sending is
    /// kept, where the kind can, until [`FrontEnd::disconnect`]; see [`FrontEnd::input_ended`].
    fn half_close(&self) -> bool {
        false
    }

    /// Whether it can serve several peers at a time. Then a back end that may have several leaves
    /// each to be taken with [`FrontEnd::accept`], and is itself without a peer.
    fn accepts(&self) -> bool {
        false
    }

    /// Whether nobody uses the front end yet who could have a say in a change.
    #[doc(hidden)]
    fn is_idle(&self) -> bool {
        false
    }

    /// The chardevs whose back ends use the front end, where it is theirs.
    #[doc(hidden)]
    fn above(&self) -> Vec<ChardevRef> {
        Vec::new()
    }

    /// The *backend change* handler: the new back end has been set up with the whole line and
    /// gave `answers`. Anything that must be redone is redone when [`Event::Changed`] arrives.
    ///
    /// # Errors
    /// A reason refuses the change, which then never happened.
    #[doc(alias = "be_change")]
    fn backend_change(&self, _answers: &Answers) -> Result<(), String> {
        Ok(())
    }
}

impl FrontEndHooks for () {}

/// What [`FrontEnd::poll_read`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// This many bytes of input, at least one.
    Data(usize),
    /// An event, at its place in the input.
    Event(Event),
}

/// A device's handle to its chardev; dropping it detaches the device.
///
/// Every method may be called from any thread and returns at once. The handle never gives
/// access to the back end itself, so a change leaves nothing stale.
#[derive(Debug)]
#[doc(alias = "CharBackend")]
pub struct FrontEnd {
    chardev: ChardevRef,
}

impl FrontEnd {
    /// Attaches a device to `chardev`. If a peer is there, or one was whose input waits, the first
    /// event is [`Event::Opened`].
    ///
    /// Only for a chardev without a `Chardevs`; otherwise use `Chardevs::attach`, which also knows
    /// multiplexers.
    ///
    /// While a transaction is being decided it waits, for some microseconds.
    ///
    /// # Errors
    /// [`AttachError::InUse`] while another front end is attached; [`AttachError::NotFound`] if the
    /// chardev was removed.
    #[doc(alias = "qemu_chr_fe_init")]
    pub fn attach(
        chardev: &ChardevRef,
        hooks: Arc<dyn FrontEndHooks>,
    ) -> Result<Self, AttachError> {
        // Once a transaction is being decided nobody new can be asked.
        while !chardev.with(|chardev| chardev.begin_front(&hooks))? {
            std::thread::yield_now();
        }
        Ok(FrontEnd {
            chardev: chardev.clone(),
        })
    }

    /// The chardev's id.
    pub fn label(&self) -> String {
        self.chardev.with(|chardev| chardev.label.to_string())
    }

    /// Writes what fits now and returns how many bytes that was. 0 means "not now": the write
    /// waker is woken when it may succeed. A count below the length means the same for the rest.
    ///
    /// Bytes counted are accepted: delivered to the present back end, whatever changes follow, or,
    /// while nobody is there, kept or discarded by [`Closed`](crate::Closed) and counted in
    /// [`Stats`]. After the chardev was removed nobody ever is.
    #[doc(alias = "qemu_chr_fe_write")]
    pub fn write(&self, bytes: &[u8]) -> usize {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// [`FrontEnd::write`] from several buffers, in one system call where the kind allows.
    pub fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> usize {
        self.chardev.with_output(|chardev| chardev.write(bufs))
    }

    /// Reads input that is there now. 0 means none now, or an event comes first, so call
    /// [`FrontEnd::next_event`] after every 0; the read waker is woken when there is something. Not
    /// reading is how a device holds its peer back.
    pub fn read(&self, buf: &mut [u8]) -> usize {
        self.read_vectored(&mut [IoSliceMut::new(buf)])
    }

    /// [`FrontEnd::read`] into several buffers.
    pub fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.chardev.with(|chardev| chardev.read(bufs))
    }

    /// Takes the next event, if all input before it has been read.
    pub fn next_event(&self) -> Option<Event> {
        self.chardev.with(Chardev::next_event)
    }

    /// [`FrontEnd::write`] for a task: ready with at least one byte taken.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        self.chardev.with_output(|chardev| {
            set_waker(chardev, Ready::WRITE, cx.waker());
            match chardev.write(&[IoSlice::new(bytes)]) {
                0 if !bytes.is_empty() => Poll::Pending,
                count => Poll::Ready(count),
            }
        })
    }

    /// Like [`FrontEnd::poll_write`], but for replies meant for the peer last announced by
    /// [`Event::Opened`]; `Ready(None)` once that peer has left, even if another has come.
    pub fn poll_answer(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<usize>> {
        self.chardev.with_output(|chardev| {
            set_waker(chardev, Ready::WRITE, cx.waker());
            if chardev.input.has_closed() {
                return Poll::Ready(None);
            }
            match chardev.write(&[IoSlice::new(bytes)]) {
                0 if !bytes.is_empty() => Poll::Pending,
                count => Poll::Ready(Some(count)),
            }
        })
    }

    /// Whether that peer has left and its [`Event::Closed`] is still unread.
    pub fn has_left(&self) -> bool {
        self.chardev.with(|chardev| chardev.input.has_closed())
    }

    /// [`FrontEnd::read`] and [`FrontEnd::next_event`] for a task.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Input> {
        self.chardev.with(|chardev| {
            set_waker(chardev, Ready::READ, cx.waker());
            let count = chardev.read(&mut [IoSliceMut::new(buf)]);
            if count > 0 {
                return Poll::Ready(Input::Data(count));
            }
            chardev
                .next_event()
                .map_or(Poll::Pending, |event| Poll::Ready(Input::Event(event)))
        })
    }

    /// [`FrontEnd::poll_read`] for a task that reads until nothing is left; says with a piece below
    /// `few` bytes whether that was all there was. Then the waker is woken when there is more, as
    /// if another read had found nothing: where little comes at a time, half of all reads do.
    pub fn poll_read_few(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        few: usize,
    ) -> Poll<(Input, bool)> {
        self.chardev.with(|chardev| {
            set_waker(chardev, Ready::READ, cx.waker());
            let count = chardev.read(&mut [IoSliceMut::new(buf)]);
            if count > 0 {
                let was_all = count < few && chardev.waits_for_more();
                return Poll::Ready((Input::Data(count), was_all));
            }
            chardev.next_event().map_or(Poll::Pending, |event| {
                Poll::Ready((Input::Event(event), false))
            })
        })
    }

    /// Waits for the next event without reading input; input before it keeps it back.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event> {
        self.chardev.with(|chardev| {
            set_waker(chardev, Ready::READ, cx.waker());
            chardev.next_event().map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// Sets the waker for the directions in `which`. There is one waker for each direction: the
    /// last that was set, here or by one of the `poll_` methods, is the one that is woken, and it
    /// stays set. It is also woken by this call, so nothing is missed between an attempt and this.
    #[doc(alias = "qemu_chr_fe_add_watch")]
    pub fn set_waker(&self, which: Ready, waker: &Waker) {
        self.chardev.with(|chardev| {
            set_waker(chardev, which, waker);
            if which.contains(Ready::READ) {
                chardev.wake(Ready::READ);
            }
            if which.contains(Ready::WRITE) {
                // Trying once too often is harmless; missing what happened just before is not.
                chardev.wake(Ready::WRITE);
            }
        });
    }

    /// Takes out the waker of one direction, to be put back by [`FrontEnd::set_waker`].
    pub fn take_waker(&self, which: Ready) -> Option<Waker> {
        self.chardev.with(|chardev| {
            let front = chardev.front.as_mut()?;
            let slot = if which == Ready::WRITE {
                &mut front.write_waker
            } else {
                &mut front.read_waker
            };
            slot.take()
        })
    }

    /// The device can take input again: whoever waits for input is woken to try.
    #[doc(alias = "qemu_chr_fe_accept_input")]
    pub fn accept_input(&self) {
        self.chardev.with(|chardev| chardev.wake(Ready::READ));
    }

    /// Whether a peer is there. Files, pipes and ring buffers always count as one, standard input
    /// and output until the input ends; `null` and `udp` never do, although they take output.
    #[doc(alias = "qemu_chr_fe_backend_open")]
    pub fn is_open(&self) -> bool {
        self.chardev.with(|chardev| chardev.backend.is_open())
    }

    /// Whether anybody gets what is written when it is written: a peer or a viewer, not only a log
    /// or a scrollback that is looked at later.
    pub fn is_seen(&self) -> bool {
        self.chardev
            .with(|chardev| chardev.backend.reaches_somebody() || chardev.viewers() > 0)
    }

    /// Tells the back end whether the device is in use; shown as `frontend-open`.
    #[doc(alias = "qemu_chr_fe_set_open")]
    pub fn set_open(&self, open: bool) {
        self.set_line(|line| line.open = open);
    }

    /// Whether the peer was kept although it has ended its sending, and all of it was read.
    pub fn input_ended(&self) -> bool {
        self.chardev
            .with(|chardev| chardev.input.is_empty() && chardev.backend.input_ended())
    }

    /// Takes the next peer that waits, where the hooks say [`FrontEndHooks::accepts`] and the back
    /// end has several; `serving` is how many of them are being served. After `None` the read waker
    /// is woken when another one may be taken. If it returned `None` because `serving` was at
    /// [`accept_limit`](FrontEnd::accept_limit), call it again yourself after a peer ends.
    pub fn accept(&self, serving: usize) -> Option<Accepted> {
        self.chardev.with(|chardev| {
            if chardev.misses(Ready::READ) {
                return None;
            }
            chardev.backend.accept(serving)
        })
    }

    /// How many peers [`FrontEnd::accept`] gives at a time, 0 for any number; `None` where the
    /// back end serves one by itself.
    pub fn accept_limit(&self) -> Option<usize> {
        self.chardev.with(|chardev| chardev.backend.accept_limit())
    }

    /// Who the present peer is, where the kind can tell.
    pub fn peer(&self) -> Option<String> {
        self.chardev.with(|chardev| chardev.peer())
    }

    /// What the present peer has proven to be called, by a certificate that was verified: first its
    /// subject, as `CN=laptop,O=Example`, then its other names, as `DNS:laptop.example`.
    pub fn peer_names(&self) -> Vec<String> {
        self.chardev.with(|chardev| chardev.backend.peer_names())
    }

    /// Whether the present peer is still there, as far as the kind can tell. It says nothing about
    /// whether one has come at all: ask [`FrontEnd::is_open`] first.
    pub fn presence(&self) -> Presence {
        self.chardev.with(|chardev| chardev.backend.presence())
    }

    /// Asks the peer's terminal to echo, or not to.
    #[doc(alias = "qemu_chr_fe_set_echo")]
    pub fn set_echo(&self, echo: bool) -> Answer {
        self.set_line(|line| line.echo = echo).echo
    }

    /// Sets the serial parameters. A device may take its time for that, and may not take them: then
    /// the answer is [`Answer::Pending`], and [`Event::LineAnswered`] has the one that counts. What
    /// is written from here on waits for it.
    #[doc(alias = "CHR_IOCTL_SERIAL_SET_PARAMS")]
    pub fn set_serial(&self, params: SerialParams) -> Answer {
        self.set_line(|line| line.serial = Some(params)).serial
    }

    /// The same together with flow control.
    pub fn set_serial_flow(&self, params: SerialParams, flow: FlowControl) -> Answer {
        let set = |line: &mut Line| (line.serial, line.flow) = (Some(params), Some(flow));
        self.set_line(set).serial
    }

    /// Whether [`Event::SerialAsked`] is wanted when the peer sets up a serial line by its
    /// protocol. Who wants it has to answer each with [`FrontEnd::answer_serial`]; otherwise the
    /// peer is granted whatever it asks for.
    pub fn watch_serial(&self, wanted: bool) {
        self.set_line(|line| line.serial_watched = wanted);
    }

    /// Answers the request of that number: what the line really is now.
    pub fn answer_serial(&self, answer: SerialRequest) {
        self.set_line(|line| line.serial_answer = Some(answer));
    }

    /// Throws away what the line has received and the front end has not read, up to the next event,
    /// and what it was given and has not sent. Both are counted. [`Answer::Pending`] is followed by
    /// [`Event::Purged`] when it is gone from the device as well; what is written and read from
    /// here on is not concerned.
    pub fn purge(&self, which: Purge) -> Answer {
        self.chardev.with(|chardev| chardev.purge(which))
    }

    /// All that peers wanted purged up to the request of that number is gone.
    pub fn answer_purge(&self, number: u64) {
        self.set_line(|line| line.purged = line.purged.max(number));
    }

    /// Counts output that the device had in hand and has thrown away because of a purge.
    pub fn count_purged(&self, bytes: usize) {
        self.chardev
            .with(|chardev| chardev.stats.output_purged += bytes as u64);
    }

    /// Starts or ends a break condition.
    #[doc(alias = "CHR_IOCTL_SERIAL_SET_BREAK")]
    pub fn set_break(&self, on: bool) -> Answer {
        self.set_line(|line| line.break_on = on).break_on
    }

    /// Sets the modem outputs (DTR and RTS; other bits are ignored).
    #[doc(alias = "CHR_IOCTL_SERIAL_SET_TIOCM")]
    pub fn set_modem(&self, outputs: ModemLines) -> Answer {
        let outputs = outputs & (ModemLines::DTR | ModemLines::RTS);
        self.set_line(|line| line.modem = Some(outputs)).modem
    }

    /// [`FrontEnd::set_modem`] of one that couples lines: a peer that looks at modem lines by its
    /// protocol is shown the `inputs` of the other line as they are.
    pub fn relay_modem(&self, outputs: ModemLines, inputs: Option<ModemLines>) -> Answer {
        let outputs = outputs & (ModemLines::DTR | ModemLines::RTS);
        let set = |line: &mut Line| (line.modem, line.modem_relayed) = (Some(outputs), inputs);
        self.set_line(set).modem
    }

    /// Whether [`Event::Modem`] is wanted when modem inputs change. It may cost a look at the
    /// device now and then, so only those ask for it who use it.
    pub fn watch_modem(&self, wanted: bool) {
        self.set_line(|line| line.modem_watched = wanted);
    }

    /// The modem inputs as they were seen last, where the back end has any. A device is looked at
    /// again after that, and [`Event::Modem`] tells if they have changed.
    #[doc(alias = "CHR_IOCTL_SERIAL_GET_TIOCM")]
    pub fn modem_inputs(&self) -> Option<ModemLines> {
        self.chardev.with(|chardev| chardev.backend.modem_inputs())
    }

    /// Asks something of a parallel port. Unlike anything else here this waits for the device, on
    /// the calling thread: it is for a thread that may wait, such as a vCPU's. What is written is
    /// set up again after a change.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the back end is no parallel port; else what the device
    /// says.
    pub fn parallel(&self, request: ParallelRequest) -> io::Result<u8> {
        let port = self.chardev.with(|chardev| {
            chardev.line.parallel.note(request);
            chardev.line_generation += 1;
            chardev.backend.parallel()
        });
        port.ok_or(io::ErrorKind::Unsupported)?.request(request)
    }

    /// Fills `buf` by EPP cycles of a parallel port; waits as [`FrontEnd::parallel`] does.
    ///
    /// # Errors
    /// As from [`FrontEnd::parallel`].
    pub fn epp_read(&self, what: Epp, buf: &mut [u8]) -> io::Result<()> {
        let port = self.chardev.with(|chardev| chardev.backend.parallel());
        port.ok_or(io::ErrorKind::Unsupported)?.epp_read(what, buf)
    }

    /// Writes all `bytes` by EPP cycles of a parallel port; waits as [`FrontEnd::parallel`] does.
    ///
    /// # Errors
    /// As from [`FrontEnd::parallel`].
    pub fn epp_write(&self, what: Epp, bytes: &[u8]) -> io::Result<()> {
        let port = self.chardev.with(|chardev| chardev.backend.parallel());
        port.ok_or(io::ErrorKind::Unsupported)?
            .epp_write(what, bytes)
    }

    /// Keeps descriptors to go out with the next byte written, replacing earlier ones that have
    /// not gone. `false`, and they are closed, if the back end cannot pass any: only Unix sockets
    /// without a layer such as telnet can.
    ///
    /// A socket passes 16 with one write, the rest with the following ones; if the kernel has too
    /// many under way, the bytes go without them. A change carries over what has not gone; dropping
    /// the front end closes it.
    #[doc(alias = "qemu_chr_fe_set_msgfds")]
    pub fn pass_fds(&self, fds: Vec<OwnedFd>) -> bool {
        self.chardev.with(|chardev| {
            let able = chardev.backend.apply(&chardev.line).passes_fds;
            if able {
                chardev.rare.output_fds = fds;
            }
            able
        })
    }

    /// Descriptors that came with the input read last, at most 16 with one message; those that come
    /// with later input replace, and close, what was not taken. Dropping the front end closes what
    /// a peer that has left had sent.
    #[doc(alias = "qemu_chr_fe_get_msgfds")]
    pub fn take_fds(&self) -> Vec<OwnedFd> {
        self.chardev
            .with(|chardev| match chardev.rare.input_fds.is_empty() {
                true => chardev.backend.take_fds(),
                false => std::mem::take(&mut chardev.rare.input_fds),
            })
    }

    /// Drops the present peer, where the kind can.
    #[doc(alias = "qemu_chr_fe_disconnect")]
    pub fn disconnect(&self) {
        self.chardev.with(|chardev| {
            chardev.backend.disconnect();
            chardev.collect_events();
        });
    }

    /// Asks a multiplexer for the focus; nothing to do on other back ends.
    #[doc(alias = "qemu_chr_fe_take_focus")]
    pub fn take_focus(&self) {
        self.chardev.with(|chardev| {
            chardev.backend.take_focus();
            chardev.collect_events();
        });
    }

    /// The chardev this is the front end of.
    pub(crate) fn chardev(&self) -> &ChardevRef {
        &self.chardev
    }

    /// The size of the peer's terminal, if one was told.
    pub fn size(&self) -> Option<TerminalSize> {
        self.chardev.with(|chardev| chardev.size)
    }

    /// The chardev's counters.
    pub fn stats(&self) -> Stats {
        self.chardev.with(|chardev| chardev.stats)
    }

    /// Counts output that the device could neither hand over nor hold back.
    pub fn count_dropped(&self, bytes: usize) {
        self.chardev
            .with(|chardev| chardev.stats.output_dropped += bytes as u64);
    }

    pub(crate) fn set_line(&self, change: impl FnOnce(&mut Line)) -> Answers {
        self.chardev.with(|chardev| chardev.set_line(change))
    }
}

impl Drop for FrontEnd {
    /// The line goes back to its rest: not open, no break, no half-closed peer.
    fn drop(&mut self) {
        self.chardev.with(|chardev| {
            chardev.set_line(|line| {
                line.open = false;
                line.break_on = false;
                line.half_close = false;
                line.modem_watched = false;
                line.modem_relayed = None;
                line.serial_watched = false;
                line.serial_answer = None;
                line.accepts = false;
            });
            chardev.front = None;
            chardev.rest_if_unused();
            chardev.output_goes_on();
            if let Some(rare) = chardev.rare.there() {
                rare.output_fds.clear();
                rare.input_fds.clear();
            }
            chardev.stats.breaks_dropped += chardev.input.clear_events();
        });
    }
}

impl Chardev {
    /// A front end attaches, unless a transaction is being decided.
    fn begin_front(&mut self, hooks: &Arc<dyn FrontEndHooks>) -> Result<bool, AttachError> {
        if self.removed {
            return Err(AttachError::NotFound(self.label.to_string()));
        }
        if self.front.is_some() {
            return Err(AttachError::InUse(self.label.to_string()));
        }
        if self.freeze != Freeze::Free {
            return Ok(false);
        }
        self.collect_events();
        self.stats.breaks_dropped += self.input.clear_events();
        if hooks.half_close() || hooks.accepts() {
            self.set_line(|line| {
                line.half_close = hooks.half_close();
                line.accepts = hooks.accepts();
            });
        }
        self.front = Some(Front {
            hooks: Arc::clone(hooks),
            read_waker: None,
            write_waker: None,
        });
        self.backend.set_attached(true);
        self.books.begin_front();
        // Input may wait whose peer has left: it is shown between an opening and a closing.
        self.shown_open = self.input.has_input();
        if self.shown_open {
            self.input.push_event_first(Event::Opened);
        }
        let open = self.backend.is_open();
        self.show_open(open);
        self.collect_events();
        Ok(true)
    }
}

pub(crate) fn set_waker(chardev: &mut Chardev, which: Ready, waker: &Waker) {
    let Some(front) = &mut chardev.front else {
        return;
    };
    for (wanted, slot) in [
        (Ready::READ, &mut front.read_waker),
        (Ready::WRITE, &mut front.write_waker),
    ] {
        if which.contains(wanted) && !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

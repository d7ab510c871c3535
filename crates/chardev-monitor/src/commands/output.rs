//! Output: the contents of rings and histories, viewers, and the size of a terminal.

use chardev::{RingBuffer, Slow, TerminalSize, ViewFrom, Watch};
use chardev_qapi::{Json, QmpError};
use chardev_qmp::{Command, ringbuf};

use super::{Tried, done, generic, not_found};
use crate::caller::Caller;
use crate::viewing::view_from;

impl Caller {
    pub(super) fn try_output(&self, command: Command) -> Tried {
        let chardevs = &self.service.chardevs;
        Ok(match command {
            Command::RingbufRead {
                device,
                size,
                format,
            } => self.ringbuf_read(&device, size, format),
            Command::RingbufWrite { device, data } => done(chardevs.ring_write(&device, &data)),
            Command::XChardevSetWinsize { id, cols, rows } => {
                match chardevs.resize(&id, TerminalSize { cols, rows }) {
                    true => Ok(Json::empty()),
                    false => Err(not_found(&id)),
                }
            }
            Command::XChardevWatch {
                id,
                fdname,
                from,
                drop_when_slow,
                framed,
            } => {
                let slow = if drop_when_slow {
                    Slow::Drop
                } else {
                    Slow::Skip
                };
                let from = view_from(from, ViewFrom::Now);
                self.watch(&id, &fdname, Watch { from, slow, framed })
            }
            Command::XChardevHistory {
                id,
                from,
                size,
                format,
            } => self.history(&id, view_from(from, ViewFrom::Oldest), size, format),
            other @ (Command::GetFd { .. }
            | Command::CloseFd { .. }
            | Command::AddFd { .. }
            | Command::RemoveFd { .. }
            | Command::QueryFdsets
            | Command::AddClient { .. }
            | Command::XMonitorAdd { .. }
            | Command::QueryStatus
            | Command::Stop
            | Command::Cont
            | Command::QueryName
            | Command::Quit
            | Command::QomList { .. }
            | Command::QomListTypes { .. }
            | Command::QueryCommandLineOptions { .. }
            | Command::HumanMonitorCommand { .. }
            | Command::XChardevEvents { .. }
            | Command::XQueryMonitors
            | Command::XQueryDevices
            | Command::DeviceAdd { .. }
            | Command::DeviceDel { .. }
            | Command::XDeviceRestart { .. }
            | Command::Own { .. }
            | Command::ChardevAdd { .. }
            | Command::ChardevChange { .. }
            | Command::ChardevRemove { .. }
            | Command::ChardevSendBreak { .. }
            | Command::QueryChardev
            | Command::QueryChardevBackends
            | Command::Yank { .. }
            | Command::QueryYank
            | Command::XChardevAttach { .. }
            | Command::XChardevTransaction { .. }
            | Command::XChardevSet { .. }
            | Command::XChardevHubAdd { .. }
            | Command::XChardevHubRemove { .. }
            | Command::XChardevReopenLog { .. }
            | Command::XQueryChardevStats { .. }) => return Err(other),
        })
    }

    fn ringbuf_read(
        &self,
        device: &str,
        size: i64,
        format: ringbuf::Format,
    ) -> Result<Json, QmpError> {
        let size = usize::try_from(size).unwrap_or(0);
        let most = |ring: &RingBuffer| match format {
            ringbuf::Format::Utf8 => ringbuf::text_len(ring, size),
            ringbuf::Format::Base64 => size,
        };
        // A missing device is reported before a wrong size, as in QEMU.
        let content = self.service.chardevs.ring_take(device, most);
        let content = content.map_err(generic)?;
        if size == 0 {
            return Err("size must be greater than zero".into());
        }
        Ok(ringbuf::encode(content, format))
    }
}

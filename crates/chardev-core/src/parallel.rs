//! front → chardev → [back end] → host: what a front end may ask of a parallel port.

use std::io;

/// A request to a parallel port, for one register at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParallelRequest {
    /// The data lines.
    #[doc(alias = "CHR_IOCTL_PP_READ_DATA")]
    ReadData,
    /// Drives the data lines.
    #[doc(alias = "CHR_IOCTL_PP_WRITE_DATA")]
    WriteData(u8),
    /// The status lines: busy, acknowledge, paper out, selected, error, in the bits of a PC's.
    #[doc(alias = "CHR_IOCTL_PP_READ_STATUS")]
    ReadStatus,
    /// The control lines.
    #[doc(alias = "CHR_IOCTL_PP_READ_CONTROL")]
    ReadControl,
    /// Drives the control lines.
    #[doc(alias = "CHR_IOCTL_PP_WRITE_CONTROL")]
    WriteControl(u8),
    /// Whether the data lines are driven by the device at the other end.
    #[doc(alias = "CHR_IOCTL_PP_DATA_DIR")]
    SetInput(bool),
}

/// What an EPP cycle carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epp {
    /// An address.
    Address,
    /// Data.
    Data,
}

/// What a front end has set up of a parallel port, and a change sets up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParallelLines {
    /// The direction, once set.
    pub input: Option<bool>,
    /// The data lines, once driven.
    pub data: Option<u8>,
    /// The control lines, once driven.
    pub control: Option<u8>,
}

impl ParallelLines {
    /// Notes what `request` leaves behind.
    pub(crate) fn note(&mut self, request: ParallelRequest) {
        match request {
            ParallelRequest::WriteData(byte) => self.data = Some(byte),
            ParallelRequest::WriteControl(byte) => self.control = Some(byte),
            ParallelRequest::SetInput(input) => self.input = Some(input),
            ParallelRequest::ReadData
            | ParallelRequest::ReadStatus
            | ParallelRequest::ReadControl => {}
        }
    }

    /// What sets a port up so: the direction first, so that nobody drives against the other end.
    pub fn requests(self) -> impl Iterator<Item = ParallelRequest> {
        let input = self.input.map(ParallelRequest::SetInput);
        let data = self.data.map(ParallelRequest::WriteData);
        let control = self.control.map(ParallelRequest::WriteControl);
        input.into_iter().chain(data).chain(control)
    }
}

/// A parallel port. Every method may wait for the device, so none is called under a chardev's lock.
pub trait ParallelPort: Send + Sync {
    /// Carries out `request`; the answer to what writes is 0.
    ///
    /// # Errors
    /// The cause.
    fn request(&self, request: ParallelRequest) -> io::Result<u8>;

    /// Fills `buf` by EPP cycles.
    ///
    /// # Errors
    /// The cause; how many cycles there were then, nobody knows.
    #[doc(alias = "CHR_IOCTL_PP_EPP_READ")]
    fn epp_read(&self, what: Epp, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all `bytes` by EPP cycles.
    ///
    /// # Errors
    /// The cause; how many cycles there were then, nobody knows.
    #[doc(alias = "CHR_IOCTL_PP_EPP_WRITE")]
    fn epp_write(&self, what: Epp, bytes: &[u8]) -> io::Result<()>;
}

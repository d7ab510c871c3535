//! The kinds of back ends that take part.

/// A kind of back end, and for sockets who connects to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `file`
    File,
    /// `socket` on a unix path; the back end listens.
    UnixServer,
    /// `socket` on a unix path; the peer listens.
    UnixClient,
    /// `socket` over TCP; the back end listens.
    TcpServer,
    /// `socket` over TCP; the peer listens.
    TcpClient,
    /// `pty`
    Pty,
    /// `pipe`
    Pipe,
    /// `ringbuf`
    Ringbuf,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::File,
        Kind::UnixServer,
        Kind::UnixClient,
        Kind::TcpServer,
        Kind::TcpClient,
        Kind::Pty,
        Kind::Pipe,
        Kind::Ringbuf,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::UnixServer => "unix server",
            Kind::UnixClient => "unix client",
            Kind::TcpServer => "tcp server",
            Kind::TcpClient => "tcp client",
            Kind::Pty => "pty",
            Kind::Pipe => "pipe",
            Kind::Ringbuf => "ringbuf",
        }
    }

    /// Whether its peer sends input.
    pub fn has_input(self) -> bool {
        !matches!(self, Kind::File | Kind::Ringbuf)
    }

    /// Whether the back end listens. A connection may still wait to be accepted, so its peer sends
    /// nothing before it was sent something: only then it surely is the back end's peer.
    pub(crate) fn listens(self) -> bool {
        matches!(self, Kind::UnixServer | Kind::TcpServer)
    }
}

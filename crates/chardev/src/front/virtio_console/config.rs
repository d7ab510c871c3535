//! guest → [front: virtio-console] → chardev → back → host: a port's configuration and counters.

use super::CONSOLE_BUFFER;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "virtconsole")]
#[doc(alias = "virtserialport")]
pub enum Role {
    /// A terminal: `/dev/hvc0` in Linux.
    Console,
    /// A channel that a program opens: `/dev/vport0p1` in Linux.
    Generic,
}

/// What happens to output while the back end takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It stays in the ring and the guest waits. On a console port that freezes a Linux guest's
    /// CPU.
    Wait,
    /// Up to `buffer` bytes are kept, the newest beyond are dropped and counted.
    Drop {
        /// Bytes.
        buffer: usize,
    },
}

/// A port as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// What it is for.
    pub role: Role,
    /// Its name in the guest (`/dev/virtio-ports/NAME`); empty for none.
    pub name: String,
    /// What happens to output while the back end takes none.
    pub when_full: WhenFull,
    /// What a monitor calls it, see [`VirtioConsole::watch`](super::VirtioConsole::watch); `None`
    /// for a port nobody is told of.
    pub id: Option<String>,
}

impl PortConfig {
    /// A terminal that never stalls the guest.
    pub fn console() -> Self {
        PortConfig {
            role: Role::Console,
            name: String::new(),
            when_full: WhenFull::Drop {
                buffer: CONSOLE_BUFFER,
            },
            id: None,
        }
    }

    /// A channel called `name` that loses nothing.
    pub fn generic(name: &str) -> Self {
        PortConfig {
            role: Role::Generic,
            name: name.to_owned(),
            when_full: WhenFull::Wait,
            id: None,
        }
    }
}

/// Counters of one port since it was added. The chardev has more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Bytes taken from the guest, dropped ones included.
    pub output: u64,
    /// Bytes given to the guest.
    pub input: u64,
    /// Bytes of output dropped because the back end took none and the buffer was full.
    pub dropped: u64,
    /// Descriptor chains that no driver would make; what they held was ignored.
    pub malformed: u64,
}

//! guest → [front: virtio-console] → chardev → back → host: adding and removing ports.

use chardev_core::FrontEnd;

use super::control::Tell;
use super::port::Port;
use super::{PortConfig, PortStats, PortWatch, Role, VirtioConsole};

/// The longest name, so that it fits into any driver's control buffer.
const MAX_NAME: usize = 255;

/// Why a port was not added (QEMU's words).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is one with this number.
    #[error("virtio-serial-bus: A port already exists at id {0}")]
    NumberTaken(u32),
    /// There is one with this name.
    #[error("virtio-serial-bus: A port already exists by name {0}")]
    NameTaken(String),
    /// Every number is taken.
    #[error("virtio-serial-bus: Maximum port limit for this device reached")]
    Full,
    /// The device has fewer ports.
    #[error("virtio-serial-bus: Out-of-range port id specified, max. allowed: {0}")]
    OutOfRange(u32),
    /// Drivers without multiport support expect a console there.
    #[error(
        "virtio-serial-bus: Port number 0 on virtio-serial devices reserved for virtconsole devices \
         for backward compatibility."
    )]
    ZeroIsForConsoles,
    /// The name cannot be told to a guest.
    #[error("virtio-serial-bus: a port name can have at most {MAX_NAME} bytes and no NUL")]
    BadName,
}

impl VirtioConsole {
    /// Adds a port that is the device of `front`'s chardev and returns its number: `number`, or the
    /// first free one, where 0 is left for a console. A running guest is told.
    ///
    /// # Errors
    /// The number or the name is taken or impossible.
    pub fn add_port(
        &mut self,
        number: Option<u32>,
        front: FrontEnd,
        config: PortConfig,
    ) -> Result<u32, PortError> {
        let number = self.free_number(number, &config)?;
        let slot = &mut self.slots[number];
        let mut port = Port::new(front, config, self.watch.clone());
        // Without control messages nobody says that the one port is open.
        port.guest_open = !self.multiport && number == 0;
        self.pending.watch(number, &port.front);
        slot.port = Some(port);
        slot.tell |= Tell::ADD;
        self.pending.input_again(number);
        // A port that was here before may have left a ring that asks for no kicks.
        self.pending.output_again(number);
        Ok(number as u32)
    }

    /// Removes a port and returns its chardev's front end. A running guest is told.
    pub fn remove_port(&mut self, number: u32) -> Option<FrontEnd> {
        let index = usize::try_from(number).ok()?;
        let slot = self.slots.get_mut(index)?;
        let port = slot.port.take()?;
        // One that the guest has not heard of needs no farewell.
        slot.tell = if slot.tell.contains(Tell::ADD) {
            slot.tell & Tell::REMOVE
        } else {
            Tell::REMOVE
        };
        self.pending.input_again(index);
        Some(port.front)
    }

    /// Where the guest's opening and closing of ports can be read; for one reader.
    #[doc(alias = "VSERPORT_CHANGE")]
    pub fn watch(&self) -> PortWatch {
        self.watch.clone()
    }

    /// The counters of a port.
    pub fn port_stats(&self, number: u32) -> Option<PortStats> {
        Some(self.port_ref(number)?.stats)
    }

    /// Whether somebody in the guest has the port open.
    pub fn guest_open(&self, number: u32) -> bool {
        self.port_ref(number).is_some_and(|port| port.guest_open)
    }

    /// Bytes the guest has done with and no back end has taken yet, over all ports.
    pub fn backlog(&self) -> usize {
        let ports = self.slots.iter().filter_map(|slot| slot.port.as_ref());
        ports.map(Port::backlog).sum()
    }

    fn free_number(&self, number: Option<u32>, config: &PortConfig) -> Result<usize, PortError> {
        if config.name.len() > MAX_NAME || config.name.contains('\0') {
            return Err(PortError::BadName);
        }
        let mut ports = self.slots.iter().filter_map(|slot| slot.port.as_ref());
        if !config.name.is_empty() && ports.any(|port| port.config.name == config.name) {
            return Err(PortError::NameTaken(config.name.clone()));
        }
        let console = config.role == Role::Console;
        let Some(number) = number else {
            let free = self.slots.iter().enumerate().skip(usize::from(!console));
            let free = free.filter(|(_, slot)| slot.port.is_none());
            return free.map(|(index, _)| index).next().ok_or(PortError::Full);
        };
        let slot = usize::try_from(number)
            .ok()
            .and_then(|index| self.slots.get(index));
        match slot {
            None => Err(PortError::OutOfRange(self.slots.len() as u32 - 1)),
            Some(slot) if slot.port.is_some() => Err(PortError::NumberTaken(number)),
            Some(_) if number == 0 && !console => Err(PortError::ZeroIsForConsoles),
            Some(_) => Ok(number as usize),
        }
    }

    pub(super) fn port_ref(&self, number: u32) -> Option<&Port> {
        self.slots.get(usize::try_from(number).ok()?)?.port.as_ref()
    }

    pub(super) fn port_mut(&mut self, number: u32) -> Option<&mut Port> {
        self.slots
            .get_mut(usize::try_from(number).ok()?)?
            .port
            .as_mut()
    }
}

//! front → chardev → back → [host]: a chardev as an object on D-Bus.
//!
//! The interface is the one that QEMU's documentation of its D-Bus display describes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use zbus::fdo::{self, Properties};
use zbus::message::Header;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant};

use super::{Exports, Shown, State};

/// What all objects are below.
pub(super) const ROOT: &str = "/org/qemu/Display1";
/// The name that is asked for on a bus.
pub(super) const SERVICE: &str = "org.qemu";
const INTERFACE: &str = "org.qemu.Display1.Chardev";

/// How long a registration may wait for the chardev.
const REGISTER_LIMIT: Duration = Duration::from_secs(5);

/// The chardev with this label, whatever its back end is at the moment.
pub(super) struct Object {
    pub(super) label: String,
    pub(super) exports: Arc<Exports>,
}

/// The path of the chardev `label`. As QEMU's where that is one; what cannot stand in a path is
/// `_` and two digits.
pub(super) fn path(label: &str) -> String {
    let mut path = format!("{ROOT}/Chardev_");
    for byte in label.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' => path.push(byte.into()),
            other => path.push_str(&format!("_{other:02x}")),
        }
    }
    path
}

impl Object {
    fn gone(&self) -> fdo::Error {
        fdo::Error::UnknownObject(format!("chardev '{}' has gone", self.label))
    }

    fn shown(&self) -> Shown {
        let slot = self.exports.get(&self.label);
        slot.map(|slot| slot.shown()).unwrap_or_default()
    }
}

#[zbus::interface(name = "org.qemu.Display1.Chardev", introspection_docs = false)]
impl Object {
    /// Makes one end of a connected socket the peer; who was that before is let go.
    async fn register(
        &self,
        stream: zbus::OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let fd = OwnedFd::from(stream);
        let failed = |why: String| fdo::Error::Failed(format!("Couldn't register FD: {why}"));
        crate::back::check_connected(&fd, "stream").map_err(|why| failed(why.to_string()))?;
        let owner = header
            .sender()
            .map_or_else(String::new, ToString::to_string);
        let left = self
            .exports
            .leave(&self.label, |state| state.register(fd, owner));
        let told = left.ok_or_else(|| self.gone())?;
        match tokio::time::timeout(REGISTER_LIMIT, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(failed(
                "the chardev has gone, or another came first".to_owned(),
            )),
            Err(_) => Err(failed("the chardev is busy".to_owned())),
        }
    }

    /// Tells the front end of a break.
    async fn send_break(&self) -> fdo::Result<()> {
        let left = self.exports.leave(&self.label, State::send_break);
        left.ok_or_else(|| self.gone())
    }

    /// What the user has called it.
    #[zbus(property)]
    async fn name(&self) -> String {
        self.shown().name
    }

    /// Whether the front end is open.
    #[zbus(property, name = "FEOpened")]
    async fn fe_opened(&self) -> bool {
        self.shown().fe_opened
    }

    /// Whether the front end asks for an echo of what is typed.
    #[zbus(property)]
    async fn echo(&self) -> bool {
        self.shown().echo
    }

    /// Who has registered the peer, by the unique name on the bus.
    #[zbus(property)]
    async fn owner(&self) -> String {
        self.shown().owner
    }

    /// Further interfaces of this object: none.
    #[zbus(property)]
    async fn interfaces(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Tells those who listen on `connection` what has changed of the object `label`.
///
/// # Errors
/// The connection is gone.
pub(super) async fn tell(
    connection: &Connection,
    label: &str,
    (before, now): (&Shown, &Shown),
) -> zbus::Result<()> {
    let mut changed: HashMap<&str, Variant<'_>> = HashMap::new();
    if now.name != before.name {
        changed.insert("Name", now.name.as_str().into());
    }
    if now.fe_opened != before.fe_opened {
        changed.insert("FEOpened", now.fe_opened.into());
    }
    if now.echo != before.echo {
        changed.insert("Echo", now.echo.into());
    }
    if now.owner != before.owner {
        changed.insert("Owner", now.owner.as_str().into());
    }
    if changed.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(connection, path(label))?;
    let interface = InterfaceName::from_static_str_unchecked(INTERFACE);
    Properties::properties_changed(&emitter, interface, changed, (&[][..]).into()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_path_whatever_is_in_it() {
        assert_eq!(path("con0_x"), "/org/qemu/Display1/Chardev_con0_x");
        assert_eq!(path("a-b.c"), "/org/qemu/Display1/Chardev_a_2db_2ec");
        assert_eq!(path("é"), "/org/qemu/Display1/Chardev__c3_a9");
    }
}

//! front → chardev → [back] → host: parallel, a parallel port of the host by its ppdev device.
//!
//! Its registers are the front end's (`FrontEnd::parallel`). As in QEMU it carries no bytes:
//! nobody takes output, and there is no input. The port is claimed, so that no printer's driver
//! comes in between, and handed on to a back end that wants the same one.

#[cfg(all(test, feature = "input", feature = "vc"))]
#[allow(clippy::disallowed_methods, reason = "a test's peers may wait")]
mod changes;
mod port;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, ParameterError, Short};
use chardev_core::{
    Answers, Backend, Drain, Line, LineControl, NothingToDrain, OpenError, ParallelPort, Ready,
    Sent, Sharing,
};
use rustix::fs::{Mode, OFlags};

use self::port::{Node, Port};
use super::{Access, Kind, OpenContext, open_set, opening_elsewhere};
use crate::disk;
use crate::sys::{failed, refused};

/// The kind `parallel` (QAPI `ChardevHostdev`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "parallel",
        "a parallel port of the host, for devices that use its registers; output is discarded",
        &[OptionSpec::new(
            "device",
            OptionType::Str,
            "the device, for example /dev/parport0",
        )
        .key("path")
        .path()
        .required_or("chardev: parallel: no device path given")],
    )
    .spelled(&[Short::Text(short)]),
    open: |options, context| opening_elsewhere(options, context, open),
};

/// A device's path.
fn short(text: &str) -> Option<String> {
    let is_parallel = text.starts_with("/dev/parport") || text.starts_with("/dev/ppi");
    is_parallel.then(|| format!("parallel,path={}", text.replace(',', ",,")))
}

/// Asks a back end that leaves for this port.
struct WantPort(Node);

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let name = options
        .str("device")
        .ok_or_else(|| ParameterError::missing("device"))?;
    let fd = match open_set(name, Access::Both, false, &*context.fds) {
        Some(given) => given,
        None => {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            let path = options.path("device").unwrap_or_default();
            disk::open(path, flags, Mode::empty())
        }
    };
    let fd = fd.map_err(|error| refused("Could not open", name, error))?;
    let node = port::node(&fd);
    let lent = node.and_then(|node| context.borrow(&WantPort(node)));
    let port = match lent {
        Some(port) => port,
        None => {
            let claimed = Port::claim(fd, node);
            Arc::new(claimed.map_err(|error| failed("not a parallel port", error).about(name))?)
        }
    };
    Ok(Box::new(Parallel::new(port)))
}

struct Parallel {
    port: Arc<Port>,
    line: Line,
    /// How the port was before its lines were set up.
    former: Option<port::Former>,
}

impl Parallel {
    fn new(port: Arc<Port>) -> Self {
        Parallel {
            port,
            line: Line::default(),
            former: None,
        }
    }
}

impl Backend for Parallel {
    fn kind(&self) -> &'static str {
        "parallel"
    }

    fn filename(&self) -> String {
        "parallel".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, _bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        Sent::NoPeer
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

    fn parallel(&self) -> Option<Arc<dyn ParallelPort>> {
        Some(Arc::clone(&self.port) as Arc<dyn ParallelPort>)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for Parallel {
    fn apply(&mut self, line: &Line) -> Answers {
        self.line = line.clone();
        Answers::unsupported(line, true)
    }
}

impl Sharing for Parallel {
    /// Sets the port up as the front end has set up the one before.
    fn activate(&mut self) -> Result<(), OpenError> {
        let lines = self.line.parallel;
        self.former = Some(self.port.former(lines));
        for request in lines.requests() {
            if let Err(error) = self.port.request(request) {
                self.deactivate();
                return Err(failed("could not set up the parallel port", error));
            }
        }
        Ok(())
    }

    fn deactivate(&mut self) {
        if let Some(former) = self.former.take() {
            self.port.restore(former);
        }
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let WantPort(node) = wanted.downcast_ref()?;
        let is_it = self.port.node() == Some(*node);
        is_it.then(|| Box::new(Arc::clone(&self.port)) as Box<dyn Any + Send>)
    }
}

//! The daemon's part in a fleet (`[fleet]`): which consoles take part, and how that goes.

#[cfg(not(feature = "fleet"))]
mod absent;
#[cfg(feature = "fleet")]
mod desk;
#[cfg(feature = "fleet")]
mod peers;
#[cfg(feature = "fleet")]
mod present;

#[cfg(not(feature = "fleet"))]
pub(crate) use absent::{LACKS, Membership, Settings, open};
#[cfg(feature = "fleet")]
pub(crate) use chardev_fleet::Settings;
#[cfg(feature = "fleet")]
pub(crate) use peers::open;
#[cfg(feature = "fleet")]
pub(crate) use present::Membership;

use chardev_monitor::schema::{Type, required};
use chardev_monitor::{Answer, Role};
use chardev_monitor::{Caller, Object, OwnCommand};

/// What is measured of it: names, what they mean, and numbers.
pub(crate) type Gauges = [(&'static str, &'static str, u64); 4];

/// The command that says how it goes, as `answer` does.
fn command(answer: impl Fn(&Caller) -> Answer + Send + Sync + 'static) -> OwnCommand {
    OwnCommand::new("x-query-fleet", move |_: &Object, caller: &Caller| {
        answer(caller)
    })
    .open_to_all_of(Role::View)
    .takes([])
    .returns(Type::object([
        required("cluster", Type::Str),
        required("host", Type::Str),
        required("stream", Type::Str),
        required("connected", Type::Bool),
        required("consoles", Type::Int),
        required("behind", Type::Int),
        required("present", Type::Bool),
    ]))
}

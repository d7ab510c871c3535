//! The daemon's part in a fleet (`[fleet]`): which consoles take part, and how that goes.

#[cfg(not(feature = "fleet"))]
mod absent;
#[cfg(feature = "fleet")]
mod desk;
#[cfg(feature = "fleet")]
mod others;
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

use chardev_monitor::schema::{Type, optional, required};
use chardev_monitor::{Answer, Role};
use chardev_monitor::{Caller, Object, OwnCommand};

/// What is measured of it: names, what they mean, and numbers.
pub(crate) type Gauges = [(&'static str, &'static str, u64); 6];

/// The commands about it, as they are answered: how it goes, which consoles other hosts have, and
/// a link to the page of one of those.
fn commands<L, P>(
    how: impl Fn(&Caller) -> Answer + Send + Sync + 'static,
    consoles: impl Fn(Object) -> L + Send + Sync + 'static,
    page: impl Fn(Object, Caller) -> P + Send + Sync + 'static,
) -> [OwnCommand; 3]
where
    L: Future<Output = Answer> + Send + 'static,
    P: Future<Output = Answer> + Send + 'static,
{
    let how = OwnCommand::new("x-query-fleet", move |_: &Object, caller: &Caller| {
        how(caller)
    });
    let how = how
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
            required("name-taken", Type::Bool),
            required("sessions", Type::Int),
        ]));
    let list = move |arguments: Object, _: Caller| consoles(arguments);
    let list = OwnCommand::waiting("x-query-fleet-consoles", list)
        .open_to_all_of(Role::View)
        .takes([optional("filter", Type::Str), optional("limit", Type::Int)])
        .returns(Type::object([
            required("host", Type::Str),
            required("hosts", Type::Int),
            required("consoles", Type::Int),
            required("found", Type::Int),
            required("list", Type::list(console())),
        ]));
    let link = OwnCommand::waiting("x-fleet-web-link", page)
        .open_to_all_of(Role::View)
        .takes([required("host", Type::Str)])
        .returns(Type::object([required("url", Type::Str)]));
    [how, list, link]
}

/// One of another host's consoles.
fn console() -> Type {
    Type::object([
        required("host", Type::Str),
        required("console", Type::Str),
        required("back-end", Type::Str),
        optional("front-end", Type::Str),
        required("connected", Type::Bool),
        required("since", Type::Int),
        required("output-offset", Type::Int),
        required("epoch", Type::Str),
    ])
}

//! Descriptors of clients that can pass none: `x-tunnel-offer`, `x-tunnel-join`.

use chardev_qapi::schema::{Type, optional, required};
use chardev_qapi::{Json, Object, QmpError};

use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};

/// The commands of this file.
pub(super) fn commands() -> [OwnCommand; 2] {
    let offer = OwnCommand::new("x-tunnel-offer", offer)
        .open_to_everybody()
        .takes([required("fdname", Type::Str)])
        .returns(Type::object([required("key", Type::Str)]));
    let join = OwnCommand::new("x-tunnel-join", join)
        .open_to_everybody()
        .takes([
            required("key", Type::Str),
            optional("half-close", Type::Bool),
        ]);
    [offer, join]
}

fn offer(arguments: &Object, caller: &Caller) -> Answer {
    check_monitor(caller)?;
    let name = arguments.get("fdname").and_then(Json::as_str);
    let service = &caller.service;
    let (runtime, whose) = (service.monitors.runtime(), caller.client.identity());
    let (theirs, key) = service.tunnels.offer(whose, runtime)?;
    let name = name.unwrap_or_default().to_owned();
    let named = caller.fds.name(name, theirs.into());
    named.map_err(|error| error.to_string())?;
    Ok(Object::new().with("key", key).into())
}

/// The monitor carries the bytes once this is answered.
fn join(arguments: &Object, caller: &Caller) -> Answer {
    check_monitor(caller)?;
    let key = arguments.get("key").and_then(Json::as_str);
    let tunnels = &caller.service.tunnels;
    let mut tunnel = tunnels.join(key.unwrap_or_default(), &caller.client.identity())?;
    let half = arguments.get("half-close").and_then(Json::as_bool);
    tunnel.half_close = half == Some(true);
    caller.client.set_tunnel(tunnel);
    Ok(Json::empty())
}

/// A monitor with one client at a time would keep the second connection waiting.
fn check_monitor(caller: &Caller) -> Result<(), QmpError> {
    match caller.client.may_carry() {
        true => Ok(()),
        false => Err(
            "a tunnel takes a second connection, and this monitor has one client at a \
                      time; a monitor with 'x-clients=0' has as many as come"
                .into(),
        ),
    }
}

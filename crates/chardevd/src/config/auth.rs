//! Whether the clients of a `[[monitor]]` have to prove who they are.
//!
//! The kernel knows users of this host over a Unix socket. From anywhere else somebody is only
//! known by a token or a certificate, so a monitor that is reached from there and asks for neither
//! is refused, unless it lets nobody do more than look or type, or says in capitals what it does.

use chardev::spec::{Options, SocketAddress};
use chardev_monitor::{Mode, Role, Terms};
use chardev_qapi::Json;
use chardev_qapi::opts::parse_opts;

use super::errors::{Mistakes, meant};
use super::item::Wanted;
use super::values::Value;

/// What nobody writes by accident.
const ANYBODY: &str = "ANYBODY-MAY-DO-EVERYTHING";
const REQUIRED: &str = "required";

/// The way on which clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Only from this host, where the kernel knows them or a terminal is ours.
    Here,
    /// Over a socket of which the configuration does not say what it is.
    Given,
    /// From anywhere that its address can be reached from.
    Network,
    /// The same, with certificates that are verified.
    Verified,
    /// From anywhere, and without a connection that could be anybody's.
    Datagrams,
}

impl Way {
    /// Of a chardev with these options, among the objects and chardevs of `wanted`.
    pub(super) fn of(options: Option<&Options>, wanted: &Wanted) -> Self {
        let Some(options) = options else {
            return Way::Given;
        };
        // Whoever is at a multiplexer has come by what it is on.
        if let Some(below) = options.str("chardev") {
            let mut parts = wanted.items.iter().flat_map(|item| &item.chardevs);
            let part = parts.find(|part| part.id == below);
            let below = part.map(|part| &part.options);
            return match below.and_then(|below| below.str("chardev")) {
                // Nothing rests on itself for long: what is deeper is not looked at.
                Some(_) => Way::Given,
                None => Way::of(below, wanted),
            };
        }
        match (options.kind(), options.address("addr")) {
            ("udp", _) => Way::Datagrams,
            (_, Some(SocketAddress::Inet(_) | SocketAddress::Vsock { .. })) => {
                match options
                    .str("tls-creds")
                    .is_some_and(|id| verifies(id, wanted))
                {
                    true => Way::Verified,
                    false => Way::Network,
                }
            }
            (_, Some(SocketAddress::Fd(_))) => Way::Given,
            _ => Way::Here,
        }
    }

    /// Whether several clients can come to a back end with these options, which says nothing of it.
    pub(super) fn may_have_several(self, options: &Options) -> bool {
        matches!(self, Way::Network | Way::Verified)
            && options.int("x-clients").is_none()
            && options.bool_or("server", false)
    }
}

/// Whether the credentials `id` have peers prove who they are, as they do by default.
fn verifies(id: &str, wanted: &Wanted) -> bool {
    let Some(line) = wanted.objects.get(id) else {
        return false;
    };
    match Json::parse(line) {
        Ok(json) => {
            let says = json.get("verify-peer");
            !says.is_some_and(|says| says.as_bool() == Some(false) || says.as_str() == Some("off"))
        }
        Err(_) => {
            let opts = parse_opts(line, "qom-type");
            !matches!(opts.get("verify-peer"), Some("off" | "no" | "false" | "n"))
        }
    }
}

/// On which terms the monitor `value` serves.
pub(super) fn terms(
    value: &Value,
    (mode, role): (Mode, Option<Role>),
    way: &Way,
    wanted: &Wanted,
    mistakes: &mut Mistakes,
) -> Option<Terms> {
    let table = value.table()?;
    let auth = table.text("auth");
    let terms = |known_only| Terms {
        role: role.unwrap_or_default(),
        known_only,
    };
    match auth {
        Some(ANYBODY) => return Some(terms(false)),
        Some(REQUIRED) | None => {}
        Some(other) => {
            let place = table.get("auth").map_or(&value.place, |auth| &auth.place);
            let hint = meant(other, [REQUIRED, ANYBODY].into_iter());
            mistakes.add_hint(place, format!("'auth' cannot be '{other}'"), hint);
            return None;
        }
    }
    let is_harmless = matches!(role, Some(Role::View | Role::Attach));
    if auth.is_none() && (*way == Way::Here || is_harmless) {
        return Some(terms(false));
    }
    let tokens = wanted.tokens.is_some() && matches!(mode, Mode::Control { .. });
    match way {
        Way::Here | Way::Given | Way::Verified => Some(terms(true)),
        Way::Network if tokens => Some(terms(true)),
        Way::Network | Way::Datagrams => {
            let what = "whoever can reach this monitor could do everything, for it does not ask who they are";
            mistakes.add_hint(&value.place, what, remedies(mode, *way));
            None
        }
    }
}

fn remedies(mode: Mode, way: Way) -> String {
    let tokens = match (mode, way) {
        (_, Way::Datagrams) => "use a Unix socket",
        (Mode::Readline, _) => "give its listen tls-creds",
        (Mode::Control { .. }, _) => {
            "add a section [tokens] and make one with chardevctl token add, give its listen tls-creds"
        }
    };
    format!(
        "{tokens}, let it do less with role = \"view\" or \"attach\", or write auth = \"{ANYBODY}\""
    )
}

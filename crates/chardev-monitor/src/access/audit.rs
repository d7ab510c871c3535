//! Who did what, and who was refused: a line in the log for all that is more than to look.

use chardev_qmp::Command;

use super::{Identity, Need, Role};
use crate::caller::Caller;

/// What the log calls these lines, so that they can be filtered.
const TARGET: &str = "chardevd::audit";

/// Tells the log of `command`, which is about to be carried out or was refused. Where everybody may
/// do everything, and has not said who they are, nobody has to answer for it, and it is told to
/// those who debug.
pub(crate) fn audit(caller: &Caller, command: &Command, need: &Need, permitted: bool) {
    let Need::Role { role, ids } = need else {
        return;
    };
    if permitted && *role == Role::View {
        return;
    }
    let event = word(command);
    let (who, of) = (caller.client.full_title(), list(ids));
    let console = ids.first().map_or("", String::as_str);
    if !permitted {
        tracing::warn!(target: TARGET, console, event = "refused", "{who} may not {event}{of}");
    } else if answers_for_it(caller) {
        tracing::info!(target: TARGET, console, event, "{who}: {event}{of}");
    } else {
        tracing::debug!(target: TARGET, console, event, "{who}: {event}{of}");
    }
}

fn answers_for_it(caller: &Caller) -> bool {
    let known = matches!(
        caller.identity(),
        Identity::Token(_) | Identity::Tls(_) | Identity::Vouched(_)
    );
    known || caller.service.access.is_restricted()
}

fn list(ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        ids => format!(" '{}'", ids.join("', '")),
    }
}

/// What is done.
fn word(command: &Command) -> &'static str {
    use Command as C;
    match command {
        C::XChardevAttach { .. } => "attach to",
        C::ChardevSendBreak { .. } => "send a break to",
        C::RingbufWrite { .. } => "write to",
        C::RingbufRead { .. } => "read",
        C::XChardevSetWinsize { .. } => "resize",
        C::ChardevChange { .. } | C::XChardevTransaction { .. } => "change",
        C::XChardevSet { .. } => "set the policy of",
        C::AddClient { .. } => "add a client to",
        C::Yank { .. } => "disconnect",
        C::XChardevHubAdd { .. } | C::XChardevHubRemove { .. } => "change the members of",
        C::XDeviceRestart { .. } => "restart",
        C::ChardevAdd { .. } => "add a chardev",
        C::ChardevRemove { .. } => "remove a chardev",
        C::DeviceAdd { .. } => "add a device",
        C::DeviceDel { .. } => "remove a device",
        C::Quit => "end the daemon",
        C::Stop => "stop all devices",
        C::Cont => "let all devices go on",
        C::XChardevWatch { .. } | C::XChardevHistory { .. } => "look at",
        C::XQueryChardevStats { .. } => "ask about",
        C::Own { name, .. } => own(name),
        _ => "use a command for admins",
    }
}

fn own(name: &'static str) -> &'static str {
    match name {
        "x-chardev-send" => "type on",
        "x-chardev-mark" => "mark",
        "x-screen" => "look at the screen of",
        "send-key" => "send keys to",
        name => name,
    }
}

//! What each command needs.

use chardev_qapi::spec::Options;
use chardev_qapi::{Json, Object};
use chardev_qmp::{ChardevAction, Command, Join, YankInstance};

use super::Role;
use crate::caller::Caller;

/// What a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing, not even that it is known who asks.
    Stranger,
    /// Nothing: it tells no secret.
    Nothing,
    /// Nothing, but its answer is a list that leaves out what the client may not see.
    List,
    /// This role for these chardevs; where there are none, for all that there are.
    Role { role: Role, ids: Vec<String> },
}

impl Need {
    fn of<const N: usize>(role: Role, ids: [&str; N]) -> Self {
        Need::Role {
            role,
            ids: ids.map(str::to_owned).into(),
        }
    }

    pub(crate) fn all(role: Role) -> Self {
        Need::of(role, [])
    }

    /// That of a command of the program's own that is about the chardev in its argument `key`, if
    /// that is given.
    pub(crate) fn of_argument(role: Role, key: &str, arguments: &Object) -> Self {
        match arguments.get(key).and_then(Json::as_str) {
            Some(id) => Need::of(role, [id]),
            None => Need::all(role),
        }
    }
}

impl Caller {
    /// What `command` needs.
    pub(crate) fn need(&self, command: &Command) -> Need {
        use Command as C;
        match command {
            C::QueryStatus
            | C::QueryName
            | C::QueryChardevBackends
            | C::QomListTypes { .. }
            | C::QueryCommandLineOptions { .. }
            // It only hears of what it may see.
            | C::XChardevEvents { .. }
            // These only concern the client's own descriptors. A monitor that it makes of one may
            // do what it may itself.
            | C::GetFd { .. }
            | C::CloseFd { .. }
            | C::XMonitorAdd { .. }
            // It comes here again with what the line means.
            | C::HumanMonitorCommand { .. } => Need::Nothing,
            C::QueryChardev
            | C::QueryYank
            | C::XQueryDevices
            | C::XQueryChardevStats { id: None } => Need::List,
            C::XQueryChardevStats { id: Some(id) } | C::XChardevWatch { id, .. } => {
                Need::of(Role::View, [id])
            }
            C::XChardevHistory { id, .. } => Need::of(Role::View, [id]),
            C::XChardevAttach { id, join, .. } => match join {
                Join::ReadOnly => Need::of(Role::View, [id]),
                Join::Alone | Join::Force | Join::Share => Need::of(Role::Attach, [id]),
            },
            C::ChardevSendBreak { id } | C::XChardevSetWinsize { id, .. } => {
                Need::of(Role::Attach, [id])
            }
            // To read a ring takes from others what is read.
            C::RingbufRead { device, .. } | C::RingbufWrite { device, .. } => {
                Need::of(Role::Attach, [device])
            }
            C::ChardevChange { id, options } => change([id], options),
            C::XChardevSet { id, policy } => change([id], policy),
            C::AddClient { protocol, .. } => match protocol.as_str() {
                "@dbus-display" => Need::all(Role::Admin),
                id => Need::of(Role::Change, [id]),
            },
            C::Yank { instances } => yank(instances),
            C::XChardevHubAdd { id, chardev } | C::XChardevHubRemove { id, chardev } => {
                Need::of(Role::Change, [id, chardev])
            }
            C::XChardevReopenLog { id: Some(id) } => Need::of(Role::Change, [id]),
            C::XDeviceRestart { id } => self.need_of_device(id),
            C::XChardevTransaction { actions } => transaction(actions),
            C::Own { name, arguments } => self.need_of_own(name, arguments),
            C::QomList { .. } | C::XQueryMonitors | C::QueryFdsets => Need::all(Role::View),
            C::ChardevAdd { .. }
            | C::ChardevRemove { .. }
            | C::AddFd { .. }
            | C::RemoveFd { .. }
            | C::Stop
            | C::Cont
            | C::Quit
            | C::DeviceAdd { .. }
            | C::DeviceDel { .. }
            | C::XChardevReopenLog { id: None } => Need::all(Role::Admin),
        }
    }

    /// A device belongs to its chardev, whatever it is called.
    fn need_of_device(&self, id: &str) -> Need {
        let devices = self.service.devices.query();
        let all = devices.as_array().unwrap_or_default();
        let text = |device: &Json, key| device.get(key).and_then(Json::as_str).map(str::to_owned);
        let found = all
            .iter()
            .find(|device| text(device, "id").as_deref() == Some(id));
        match found.and_then(|device| text(device, "chardev")) {
            Some(chardev) => Need::of(Role::Change, [&chardev]),
            None => Need::of(Role::Change, [id]),
        }
    }

    /// A program's command that says nothing of it is for who may do everything.
    fn need_of_own(&self, name: &str, arguments: &Object) -> Need {
        let mut all = self.service.own_commands.iter();
        let own = all.find(|own| own.name() == name);
        own.map_or(Need::all(Role::Admin), |own| own.need(arguments))
    }
}

/// Others that a back end rests on are taken from whoever has them.
fn change<const N: usize>(ids: [&str; N], options: &Options) -> Need {
    let below = options.str("chardev").into_iter();
    let below = below.chain(options.list("chardevs").iter().map(String::as_str));
    Need::Role {
        role: Role::Change,
        ids: ids.into_iter().chain(below).map(str::to_owned).collect(),
    }
}

fn yank(instances: &[YankInstance]) -> Need {
    let ids = instances.iter().map(|instance| match instance {
        YankInstance::Chardev(id) => Some(id.clone()),
        YankInstance::BlockNode(_) | YankInstance::Migration => None,
    });
    match ids.collect::<Option<Vec<_>>>() {
        Some(ids) if ids.is_empty() => Need::Nothing,
        Some(ids) => Need::Role {
            role: Role::Change,
            ids,
        },
        None => Need::all(Role::Admin),
    }
}

fn transaction(actions: &[ChardevAction]) -> Need {
    let mut all = Vec::new();
    for action in actions {
        match action {
            ChardevAction::Change { id, options } => match change([id], options) {
                Need::Role { ids, .. } => all.extend(ids),
                Need::Stranger | Need::Nothing | Need::List => {}
            },
            ChardevAction::Add { .. } | ChardevAction::Remove { .. } => {
                return Need::all(Role::Admin);
            }
        }
    }
    match all.is_empty() {
        true => Need::Nothing,
        false => Need::Role {
            role: Role::Change,
            ids: all,
        },
    }
}

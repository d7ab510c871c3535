//! What a client can ask the owner of a session for.

use chardev_qapi::Object;
use chardev_qapi::spec::{Expected, Options, ParameterError};

use crate::ringbuf::Format;

/// How `x-chardev-attach` treats who is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// It is refused while somebody is.
    #[default]
    Alone,
    /// It takes their place.
    Force,
    /// It sees and types beside them.
    Share,
    /// It only sees.
    ReadOnly,
}

/// A command whose arguments were checked, for the owner of the session to carry out.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `chardev-add`: create a chardev. Returns `{}` or `{"pty": PATH}`.
    ChardevAdd {
        /// Its name.
        id: String,
        /// Its back end.
        options: Options,
    },
    /// `chardev-change`: give a chardev another back end. Returns as for `chardev-add`.
    ChardevChange {
        /// The chardev.
        id: String,
        /// Its new back end.
        options: Options,
    },
    /// `chardev-remove`
    ChardevRemove {
        /// The chardev.
        id: String,
    },
    /// `chardev-send-break`
    ChardevSendBreak {
        /// The chardev.
        id: String,
    },
    /// `query-chardev`: a list of `{label, filename, frontend-open}`.
    QueryChardev,
    /// `query-chardev-backends`: a list of `{name}`.
    QueryChardevBackends,
    /// `ringbuf-read`; build the answer with [`encode`](crate::ringbuf::encode).
    RingbufRead {
        /// The chardev.
        device: String,
        /// How many bytes at most; not checked, QEMU looks for the device first.
        size: i64,
        /// How to answer.
        format: Format,
    },
    /// `ringbuf-write`
    RingbufWrite {
        /// The chardev.
        device: String,
        /// The bytes, decoded.
        data: Vec<u8>,
    },
    /// `getfd`: name the descriptor that came with this command.
    GetFd {
        /// The name; see [`check_fdname`].
        fdname: String,
    },
    /// `closefd`
    CloseFd {
        /// The name.
        fdname: String,
    },
    /// `add-fd`: put the descriptor that came with this command into a set; QAPI `AddfdInfo`.
    AddFd {
        /// The set; a new one if not given.
        fdset_id: Option<i64>,
        /// What the client wants to be told about it.
        opaque: Option<String>,
    },
    /// `remove-fd`
    RemoveFd {
        /// The set.
        fdset_id: i64,
        /// One descriptor, or all of them.
        fd: Option<i64>,
    },
    /// `query-fdsets`: QAPI `FdsetInfo` of each.
    QueryFdsets,
    /// `add_client`: make a connected socket a chardev's peer.
    AddClient {
        /// The chardev.
        protocol: String,
        /// The name the socket was given by `getfd`.
        fdname: String,
    },
    /// `yank`: break connections that may hang. May come out of band.
    Yank {
        /// Which.
        instances: Vec<YankInstance>,
    },
    /// `query-yank`: QAPI `YankInstance` of each. May come out of band.
    QueryYank,
    /// `query-status`: QAPI `StatusInfo`.
    QueryStatus,
    /// `stop`: hold the devices still.
    Stop,
    /// `cont`: let the devices go on.
    Cont,
    /// `qom-list`: QAPI `ObjectPropertyInfo` of each.
    QomList {
        /// The object.
        path: String,
    },
    /// `qom-list-types`: QAPI `ObjectTypeInfo` of each.
    QomListTypes {
        /// Only types that are this one, or derived from it.
        implements: Option<String>,
        /// Whether abstract types are listed too.
        with_abstract: bool,
    },
    /// `query-command-line-options`: QAPI `CommandLineOptionInfo` of each.
    QueryCommandLineOptions {
        /// One option, or all of them.
        option: Option<String>,
    },
    /// `human-monitor-command`: what the human monitor prints; see [`Hmp`](crate::hmp::Hmp).
    HumanMonitorCommand {
        /// The line.
        command_line: String,
        /// A processor, of which there are none here.
        cpu_index: Option<i64>,
    },
    /// `query-name`: `{}` or `{"name": NAME}`.
    QueryName,
    /// `quit`
    Quit,
    /// `x-chardev-attach`: make a descriptor a chardev's back end for as long as it is open.
    XChardevAttach {
        /// The chardev.
        id: String,
        /// The name the descriptor was given by `getfd`.
        fdname: String,
        /// What becomes of who is there.
        join: Join,
    },
    /// `x-chardev-set-winsize`: tell the front end how large the terminal is.
    XChardevSetWinsize {
        /// The chardev.
        id: String,
        /// Width in characters.
        cols: u16,
        /// Height in characters.
        rows: u16,
    },
    /// `x-chardev-watch`: make a descriptor a viewer of a chardev's output. Returns
    /// `{"offset": N}`, where the viewer begins.
    XChardevWatch {
        /// The chardev.
        id: String,
        /// The name the descriptor was given by `getfd`.
        fdname: String,
        /// Where to begin: an absolute offset, below 0 counted from the end; now if not given.
        from: Option<i64>,
        /// Whether a viewer that is too slow ends, rather than skipping what it missed.
        drop_when_slow: bool,
        /// Whether the output comes with offsets.
        framed: bool,
    },
    /// `x-chardev-history`: a piece of the output that is kept.
    XChardevHistory {
        /// The chardev.
        id: String,
        /// Where to begin: an absolute offset, below 0 counted from the end; the oldest byte kept
        /// if not given.
        from: Option<i64>,
        /// How many bytes at most; not checked.
        size: Option<i64>,
        /// How to answer.
        format: Format,
    },
    /// `x-chardev-transaction`: all of these at one moment, or none. Returns a list with what each
    /// would have returned.
    XChardevTransaction {
        /// The parts, in the order they are prepared.
        actions: Vec<ChardevAction>,
    },
    /// `x-chardev-set`: change a chardev's policy from here on.
    XChardevSet {
        /// The chardev.
        id: String,
        /// The options that say what the policy is to become.
        policy: Options,
    },
    /// `x-chardev-hub-add`: make a chardev a member of a hub.
    XChardevHubAdd {
        /// The hub.
        id: String,
        /// The new member.
        chardev: String,
    },
    /// `x-chardev-hub-remove`: let a member of a hub go.
    XChardevHubRemove {
        /// The hub.
        id: String,
        /// The member.
        chardev: String,
    },
    /// `x-chardev-reopen-log`: somebody has renamed the log file.
    XChardevReopenLog {
        /// One chardev, or all that have a log.
        id: Option<String>,
    },
    /// `x-chardev-events`: send this client the events `X_CHARDEV_…`, or no longer.
    XChardevEvents {
        /// Whether to send them; not until a client asks.
        enable: bool,
    },
    /// `x-monitor-add`: serve QMP on a descriptor, to whoever has its other end.
    XMonitorAdd {
        /// The name the descriptor was given by `getfd`.
        fdname: String,
    },
    /// `x-query-monitors`: who is at the monitors.
    XQueryMonitors,
    /// `x-query-devices`: the devices, and how their programs fare.
    XQueryDevices,
    /// `device_add`: make a device.
    DeviceAdd {
        /// The argument of `-device` that means the same.
        line: String,
    },
    /// `device_del`: end a device; `DEVICE_DELETED` follows.
    DeviceDel {
        /// The device.
        id: String,
    },
    /// `x-device-restart`: end a device's program if it runs, and start it again.
    XDeviceRestart {
        /// The device.
        id: String,
    },
    /// `x-query-chardev-stats`: offsets, queues and drop counters.
    XQueryChardevStats {
        /// One chardev, or all of them.
        id: Option<String>,
    },
    /// A command of the owner's own; see [`OwnCommand`](crate::OwnCommand).
    Own {
        /// Which.
        name: &'static str,
        /// Its arguments, checked if it has types.
        arguments: Object,
    },
}

/// One part of `x-chardev-transaction`, named as the command that does it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChardevAction {
    /// As [`Command::ChardevAdd`].
    Add {
        /// Its name.
        id: String,
        /// Its back end.
        options: Options,
    },
    /// As [`Command::ChardevChange`].
    Change {
        /// The chardev.
        id: String,
        /// Its new back end.
        options: Options,
    },
    /// As [`Command::ChardevRemove`].
    Remove {
        /// The chardev.
        id: String,
    },
}

/// QAPI `YankInstance`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum YankInstance {
    /// A block device's connection, of which there are none here.
    BlockNode(String),
    /// A chardev's connection.
    Chardev(String),
    /// A migration's connection, of which there are none here.
    Migration,
}

/// Checks the name a client gives a descriptor with `getfd`.
///
/// QEMU checks it only after it knows that a descriptor came with the command.
///
/// # Errors
/// `Parameter 'fdname' expects a name not starting with a digit`
pub fn check_fdname(fdname: &str) -> Result<(), ParameterError> {
    if fdname.starts_with(|c: char| c.is_ascii_digit()) {
        let expected = Expected::Other("a name not starting with a digit");
        return Err(ParameterError::expects("fdname", expected));
    }
    Ok(())
}

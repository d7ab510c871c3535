//! The commands that QEMU has too.

use super::arguments::{read_format, read_yank_instance};
use super::{Action, CommandSpec, external, plain};
use crate::answers::qapi::{
    add_fd_info, chardev_infos, chardev_return, cli_options, fdset_infos, name_info, names,
    nothing, property_infos, schema, status_info, text, type_infos, version, yank_instances,
};
use crate::command::Command;
use crate::ringbuf::decode;

/// In the order of `query-commands`.
pub(super) const COMMANDS: &[CommandSpec] = &[
    plain("qmp_capabilities", nothing, |args, _| {
        let enable = args.optional_enums("enable", &["oob"])?;
        Ok(Action::Negotiate(enable.unwrap_or_default()))
    }),
    plain("query-commands", names, |_, _| Ok(Action::QueryCommands)),
    plain("query-version", version, |_, _| Ok(Action::QueryVersion)),
    plain("query-qmp-schema", schema, |_, _| {
        Ok(Action::QueryQmpSchema)
    }),
    plain("chardev-add", chardev_return, |args, kinds| {
        external(Command::ChardevAdd {
            id: args.required("id")?,
            options: args.backend("backend", kinds)?,
        })
    }),
    plain("chardev-change", chardev_return, |args, kinds| {
        external(Command::ChardevChange {
            id: args.required("id")?,
            options: args.backend("backend", kinds)?,
        })
    }),
    plain("chardev-remove", nothing, |args, _| {
        external(Command::ChardevRemove {
            id: args.required("id")?,
        })
    }),
    plain("chardev-send-break", nothing, |args, _| {
        external(Command::ChardevSendBreak {
            id: args.required("id")?,
        })
    }),
    plain("query-chardev", chardev_infos, |_, _| {
        external(Command::QueryChardev)
    }),
    plain("query-chardev-backends", names, |_, _| {
        external(Command::QueryChardevBackends)
    }),
    plain("ringbuf-read", text, |args, _| {
        external(Command::RingbufRead {
            device: args.required("device")?,
            size: args.required("size")?,
            format: read_format(args)?,
        })
    }),
    plain("ringbuf-write", nothing, |args, _| {
        let device = args.required("device")?;
        let text: &str = args.required("data")?;
        let format = read_format(args)?;
        external(Command::RingbufWrite {
            device,
            data: decode(text, format)?,
        })
    }),
    plain("getfd", nothing, |args, _| {
        external(Command::GetFd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("closefd", nothing, |args, _| {
        external(Command::CloseFd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("add-fd", add_fd_info, |args, _| {
        external(Command::AddFd {
            fdset_id: args.optional("fdset-id")?,
            opaque: args.optional("opaque")?,
        })
    }),
    plain("remove-fd", nothing, |args, _| {
        external(Command::RemoveFd {
            fdset_id: args.required("fdset-id")?,
            fd: args.optional("fd")?,
        })
    }),
    plain("query-fdsets", fdset_infos, |_, _| {
        external(Command::QueryFdsets)
    }),
    plain("add_client", nothing, |args, _| {
        let (protocol, fdname) = (args.required("protocol")?, args.required("fdname")?);
        // They say how a display is to treat the client, and mean nothing for a chardev.
        let _: [Option<bool>; 2] = [args.optional("skipauth")?, args.optional("tls")?];
        external(Command::AddClient { protocol, fdname })
    }),
    CommandSpec {
        allow_oob: true,
        ..plain("yank", nothing, |args, _| {
            external(Command::Yank {
                instances: args.objects("instances", read_yank_instance)?,
            })
        })
    },
    CommandSpec {
        allow_oob: true,
        ..plain("query-yank", yank_instances, |_, _| {
            external(Command::QueryYank)
        })
    },
    plain("query-status", status_info, |_, _| {
        external(Command::QueryStatus)
    }),
    plain("stop", nothing, |_, _| external(Command::Stop)),
    plain("cont", nothing, |_, _| external(Command::Cont)),
    plain("qom-list", property_infos, |args, _| {
        external(Command::QomList {
            path: args.required("path")?,
        })
    }),
    plain("qom-list-types", type_infos, |args, _| {
        external(Command::QomListTypes {
            implements: args.optional("implements")?,
            with_abstract: args.optional("abstract")?.unwrap_or(false),
        })
    }),
    plain("query-command-line-options", cli_options, |args, _| {
        external(Command::QueryCommandLineOptions {
            option: args.optional("option")?,
        })
    }),
    CommandSpec {
        features: &["savevm-monitor-nodes"],
        ..plain("human-monitor-command", text, |args, _| {
            external(Command::HumanMonitorCommand {
                command_line: args.required("command-line")?,
                cpu_index: args.optional("cpu-index")?,
            })
        })
    },
    plain("query-name", name_info, |_, _| external(Command::QueryName)),
    plain("quit", nothing, |_, _| external(Command::Quit)),
];

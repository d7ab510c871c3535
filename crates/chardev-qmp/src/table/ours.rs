//! Our own commands.

use chardev_qapi::spec::{COMMON_OPTIONS, OptionType, OptionValue, Options};

use super::arguments::{read_action, read_device, read_format, read_join};
use super::{Action, CommandSpec, external, plain};
use crate::answers;
use crate::answers::qapi::{chardev_returns, nothing};
use crate::command::Command;

/// In the order of `query-commands`, after QEMU's.
pub(super) const COMMANDS: &[CommandSpec] = &[
    plain("x-chardev-attach", answers::given, |args, _| {
        external(Command::XChardevAttach {
            id: args.required("id")?,
            fdname: args.required("fdname")?,
            join: read_join(args)?,
        })
    }),
    plain("x-chardev-set-winsize", nothing, |args, _| {
        external(Command::XChardevSetWinsize {
            id: args.required("id")?,
            cols: args.required_u16("cols")?,
            rows: args.required_u16("rows")?,
        })
    }),
    plain("x-chardev-watch", answers::watch_return, |args, _| {
        external(Command::XChardevWatch {
            id: args.required("id")?,
            fdname: args.required("fdname")?,
            from: args.optional("from")?,
            drop_when_slow: args.optional_enum("slow", &["skip", "drop"])? == Some("drop"),
            framed: args.optional("framed")?.unwrap_or(false),
        })
    }),
    plain("x-chardev-history", answers::history, |args, _| {
        external(Command::XChardevHistory {
            id: args.required("id")?,
            from: args.optional("from")?,
            size: args.optional("size")?,
            format: read_format(args)?,
        })
    }),
    plain("x-chardev-transaction", chardev_returns, |args, kinds| {
        external(Command::XChardevTransaction {
            actions: args.objects("actions", |action| read_action(action, kinds))?,
        })
    }),
    plain("x-chardev-set", nothing, |args, _| {
        let id = args.required("id")?;
        let mut policy = Options::new("policy");
        for option in COMMON_OPTIONS.iter().filter(|it| it.policy.is_some()) {
            let value = match option.ty {
                OptionType::Enum(words) => {
                    let word = args.optional_enum(option.name, words)?;
                    word.map(|word| OptionValue::Str(word.to_owned()))
                }
                _ => args.optional(option.name)?.map(OptionValue::Int),
            };
            if let Some(value) = value {
                policy.set(option.name, value);
            }
        }
        external(Command::XChardevSet { id, policy })
    }),
    plain("x-chardev-hub-add", nothing, |args, _| {
        external(Command::XChardevHubAdd {
            id: args.required("id")?,
            chardev: args.required("chardev")?,
        })
    }),
    plain("x-chardev-hub-remove", nothing, |args, _| {
        external(Command::XChardevHubRemove {
            id: args.required("id")?,
            chardev: args.required("chardev")?,
        })
    }),
    plain("x-chardev-reopen-log", nothing, |args, _| {
        external(Command::XChardevReopenLog {
            id: args.optional("id")?,
        })
    }),
    plain("x-chardev-events", nothing, |args, _| {
        external(Command::XChardevEvents {
            enable: args.required("enable")?,
        })
    }),
    plain("x-error-kinds", nothing, |args, _| {
        Ok(Action::TellKinds(args.required("enable")?))
    }),
    plain("x-monitor-add", nothing, |args, _| {
        external(Command::XMonitorAdd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("x-query-monitors", answers::monitors, |_, _| {
        external(Command::XQueryMonitors)
    }),
    plain("x-query-devices", answers::devices, |_, _| {
        external(Command::XQueryDevices)
    }),
    plain("device_add", nothing, |args, _| {
        let driver: String = args.required("driver")?;
        let named = [("id", args.optional("id")?), ("bus", args.optional("bus")?)];
        external(Command::DeviceAdd {
            line: read_device(&driver, &named, args)?,
        })
    }),
    plain("device_del", nothing, |args, _| {
        external(Command::DeviceDel {
            id: args.required("id")?,
        })
    }),
    plain("x-device-restart", nothing, |args, _| {
        external(Command::XDeviceRestart {
            id: args.required("id")?,
        })
    }),
    plain(
        "x-query-chardev-stats",
        answers::chardev_stats,
        |args, _| {
            external(Command::XQueryChardevStats {
                id: args.optional("id")?,
            })
        },
    ),
];

//! What the command line asks for, in QEMU's spelling: objects, chardevs, devices and monitors.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use chardev::back::FdSource;
use chardev::spec::{OptionValue, Options, ParameterError, Problem};
use chardev::text::shown;
use chardev::{AddError, AttachError};
use chardev_monitor::{Mode, ServeError, Terms};
use chardev_qapi::cmdline::{hint, parse_backend_line, parse_chardev};
use chardev_qapi::opts::{parse_bool, parse_opts};
use chardev_qapi::{UnknownDevice, parse_device};
use tracing::Level;

use super::Daemon;
use crate::cli::Args;
use crate::ctl::back_end_meant;
use crate::{DaemonError, messages};

impl Daemon {
    /// The chardev that a device string names (`chardev:ID`, `pty`, `unix:PATH,…`); a new one gets
    /// the id `new_id`.
    ///
    /// # Errors
    /// It is no device string, or does not open.
    pub fn chardev_for(&mut self, dev: &str, new_id: &str) -> Result<String, DaemonError> {
        let kinds = self.server().chardevs().kinds();
        match parse_device(dev, &kinds)? {
            chardev_qapi::Device::Existing(id) => Ok(id),
            chardev_qapi::Device::New(line) => {
                let parsed = parse_backend_line(&line, &kinds)?;
                warn_all(&parsed.warnings);
                self.add_maybe_muxed(new_id, parsed.options, parsed.mux)?;
                Ok(new_id.to_owned())
            }
        }
    }

    /// Whether the configuration has a monitor is the answer.
    pub(super) fn start(&mut self, args: &Args) -> Result<bool, DaemonError> {
        for line in &args.add_fd {
            self.fds
                .add_to_set(line)
                .map_err(|error| about("-add-fd", line, error))?;
        }
        let directory = std::env::current_dir().unwrap_or_default();
        for line in &args.object {
            self.add_object(line, &directory)?;
        }
        for line in &args.chardev {
            let kinds = self.server().chardevs().kinds();
            let parsed = parse_chardev(line, &kinds);
            let parsed = parsed.map_err(|error| {
                let hint = hint(&error);
                let meant = back_end_meant(&error, line);
                let meant = meant.map(|meant| format!("\ndid you mean '{}'?", shown(meant)));
                let said = about("-chardev", line, error.into());
                let text = format!("{said}{hint}{}", meant.unwrap_or_default());
                said.shown_as(text)
            })?;
            warn_all(&parsed.warnings);
            self.add_maybe_muxed(&parsed.id, parsed.options, parsed.mux)
                .map_err(|error| about("-chardev", line, error))?;
        }
        for line in &args.device {
            self.start_device(line, &args.device)
                .map_err(|error| about("-device", line, error))?;
        }
        for line in &args.mon {
            self.start_mon(line)
                .map_err(|error| about("-mon", line, error))?;
        }
        let control = |pretty| Mode::Control { pretty };
        let people = args.monitor.iter().filter(|dev| !dev.starts_with("none"));
        let people = people.map(|dev| ("-monitor", dev, Mode::Readline));
        let plain = args.qmp.iter().map(|dev| ("-qmp", dev, control(false)));
        let pretty = args.qmp_pretty.iter();
        let pretty = pretty.map(|dev| ("-qmp-pretty", dev, control(true)));
        for (number, (option, dev, mode)) in people.chain(plain).chain(pretty).enumerate() {
            self.start_compat(dev, number, mode)
                .map_err(|error| error.within(format_args!("{option} {}", shown(dev))))?;
        }
        let has_monitor = self.start_config()?;
        self.warn_of_open_monitors(args);
        Ok(has_monitor)
    }

    pub(super) fn add_object(&self, line: &str, directory: &Path) -> Result<(), DaemonError> {
        let server = self.server();
        let adding = server.add_object(line, directory);
        let added = server.chardevs().block_on(adding);
        added.map_err(|error| {
            let parameter = error.source().and_then(|source| source.downcast_ref());
            let hint = parameter.map_or("", hint);
            let said = about("-object", line, error.desc.into());
            let text = format!("{said}{hint}");
            said.shown_as(text)
        })
    }

    /// With `mux=on` the back end is called `ID-base`, and `ID` is a multiplexer over it.
    fn add_maybe_muxed(
        &mut self,
        id: &str,
        options: Options,
        mux: bool,
    ) -> Result<(), DaemonError> {
        if !mux {
            return self.add(id, options);
        }
        let base = format!("{id}-base");
        self.add(&base, options)?;
        self.add(
            id,
            Options::new("mux").with("chardev", OptionValue::Str(base)),
        )
    }

    pub(super) fn add(&mut self, id: &str, mut options: Options) -> Result<(), DaemonError> {
        if self.daemonized && options.kind() == "stdio" {
            return Err("cannot use stdio with -daemonize".into());
        }
        let waits = options.bool_or("server", false) && options.bool_or("wait", false);
        if waits {
            options.set("wait", OptionValue::Bool(false));
        }
        let fds = Arc::clone(&self.fds) as Arc<dyn FdSource>;
        // A connect may take long, and a signal must not wait for it.
        let added = self.server().chardevs().block_on(async {
            tokio::select! {
                biased;
                added = self.server().chardevs().add_with(id, &options, fds) => Some(added),
                _ = self.server().stop().requested() => None,
            }
        });
        let added = added.ok_or("interrupted by a signal")?;
        let info = added.map_err(|error| match error {
            AddError::Open { cause, .. } => DaemonError::from(cause),
            AddError::Exists(ref id) => {
                let text = format!("Duplicate ID '{id}' for chardev");
                DaemonError::from(error).shown_as(text)
            }
        })?;
        if let Some(pty) = info.pty {
            let id = shown(id);
            messages::print(&format!("char device redirected to {pty} (label {id})\n"));
        }
        if waits {
            let name = &info.filename;
            messages::say(Level::INFO, &format!("waiting for connection on: {name}"));
            self.held.insert(id.to_owned());
        }
        Ok(())
    }

    pub(super) fn start_device(&mut self, line: &str, all: &[String]) -> Result<(), DaemonError> {
        let started = self.shop.start(line, all, |id| self.held.contains(id));
        started.map(drop)
    }

    fn start_mon(&mut self, line: &str) -> Result<(), DaemonError> {
        let opts = parse_opts(line, "chardev");
        for (key, _) in &opts.pairs {
            if !["chardev", "mode", "pretty", "id"].contains(&key.as_str()) {
                return Err(ParameterError::invalid(key).into());
            }
        }
        let pretty = opts.get("pretty").map(|text| parse_bool("pretty", text));
        let pretty = pretty.transpose()?;
        let mode = match (opts.get("mode").unwrap_or("readline"), pretty) {
            ("control", pretty) => Mode::Control {
                pretty: pretty.unwrap_or(false),
            },
            ("readline", None | Some(false)) => Mode::Readline,
            ("readline", Some(true)) => {
                let words = "'pretty' is not compatible with HMP monitors";
                let error = ParameterError::new("pretty", Problem::Conflict);
                return Err(error.shown_as(words).into());
            }
            (mode, _) => return Err(ParameterError::not_accepted("mode", mode).into()),
        };
        let id = opts.get("chardev");
        let id = id.ok_or_else(|| ParameterError::missing("chardev"))?;
        self.start_monitor(id, mode, Terms::default())
    }

    fn start_compat(&mut self, dev: &str, number: usize, mode: Mode) -> Result<(), DaemonError> {
        let id = self.chardev_for(dev, &format!("compat_monitor{number}"));
        let id = id.map_err(|error| {
            let more = match error
                .source()
                .is_some_and(|source| source.is::<UnknownDevice>())
            {
                true => format!("\nparse error: {}", shown(dev)),
                false => String::new(),
            };
            let text = format!("{}{more}", shown(&error));
            error.shown_as(text)
        })?;
        let started = self.start_monitor(&id, mode, Terms::default());
        started.map_err(|error| {
            let text = shown(&error).to_string();
            error.shown_as(text)
        })
    }

    pub(super) fn start_monitor(
        &mut self,
        id: &str,
        mode: Mode,
        terms: Terms,
    ) -> Result<(), DaemonError> {
        let served = self.server().serve_as(id, mode, terms);
        served.map_err(|error| match error {
            ServeError::Chardev(AttachError::NotFound(ref id)) => {
                let text = format!("chardev \"{id}\" not found");
                DaemonError::from(error).shown_as(text)
            }
            error => error.into(),
        })
    }
}

/// `-OPTION ARGUMENT: ERROR`, as it is shown.
pub(super) fn about(option: &str, argument: &str, error: DaemonError) -> DaemonError {
    let text = format!("{option} {}: {}", shown(argument), shown(&error));
    error.shown_as(text)
}

fn warn_all(warnings: &[String]) {
    for warning in warnings {
        messages::say(Level::WARN, warning);
    }
}

//! Carries out the commands of a monitor's client, in QEMU's words.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev::RingBuffer;
use chardev::back::{FdSource, KINDS};
use chardev::spec::Options;
use chardev::{Action, Info, Slow, TerminalSize, ViewFrom, Watch};
use chardev_qapi::{Json, Object, QmpError};
use chardev_qmp::hmp::{Hmp, Step};
use chardev_qmp::{ChardevAction, Command, YankInstance, ringbuf};

use crate::caller::Caller;
use crate::monitor::Monitor;
use crate::own::Answer;
use crate::stats;
use crate::stop::Reason;
use crate::viewing::view_from;
use crate::{options, qom};

const NO_FD: &str = "No file descriptor supplied via SCM_RIGHTS";

impl Caller {
    /// Carries out `command`. `sent` is the descriptor that came with it, if any.
    ///
    /// May wait for as long as opening a back end takes; dropping the future gives the command up.
    /// `quit` only answers: ending is for the caller.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn run(self, command: Command, sent: Option<OwnedFd>) -> Result<Json, QmpError> {
        let done = match command {
            Command::ChardevAdd { id, options } => {
                let added = self
                    .service
                    .chardevs
                    .add(&id, &options, self.source())
                    .await;
                return added.map(|info| chardev_return(&info)).map_err(generic);
            }
            Command::ChardevChange { id, options } => {
                let changed = self
                    .service
                    .chardevs
                    .change(&id, &options, self.source())
                    .await;
                return changed.map(|info| chardev_return(&info)).map_err(generic);
            }
            Command::ChardevRemove { id } => {
                let removed = self.service.chardevs.remove_elsewhere(&id).await;
                removed.map_err(generic)
            }
            Command::ChardevSendBreak { id } => {
                self.service.chardevs.send_break(&id).map_err(generic)
            }
            Command::QueryChardev => return Ok(self.query_chardev()),
            Command::QueryChardevBackends => return Ok(query_chardev_backends()),
            Command::RingbufRead {
                device,
                size,
                format,
            } => {
                return self.ringbuf_read(&device, size, format);
            }
            Command::RingbufWrite { device, data } => self
                .service
                .chardevs
                .ring_write(&device, &data)
                .map_err(generic),
            Command::GetFd { fdname } => self.get_fd(fdname, sent),
            Command::CloseFd { fdname } => self.fds.close(&fdname).map_err(generic),
            Command::AddFd { fdset_id, opaque } => {
                let fd = sent.ok_or(NO_FD)?;
                let added = self.service.fdsets.add(fdset_id, opaque, fd);
                return added.map_err(generic);
            }
            Command::RemoveFd { fdset_id, fd } => {
                self.service.fdsets.remove(fdset_id, fd).map_err(generic)
            }
            Command::QueryFdsets => return Ok(self.service.fdsets.query()),
            Command::AddClient { protocol, fdname } => self.add_client(&protocol, &fdname),
            Command::Yank { instances } => self.yank(&instances),
            Command::QueryYank => return Ok(self.query_yank()),
            Command::QueryStatus => return Ok(self.query_status()),
            Command::Stop => self.set_running(false),
            Command::Cont => self.set_running(true),
            Command::QomList { path } => return qom::list(&self.service.chardevs, &path),
            Command::QomListTypes {
                implements,
                with_abstract,
            } => return Ok(qom::list_types(implements.as_deref(), with_abstract)),
            Command::QueryCommandLineOptions { option } => {
                return options::query(self.service.options, option.as_deref());
            }
            // Clients such as qmp-shell always name the first processor, which every machine has.
            Command::HumanMonitorCommand { cpu_index, .. } if cpu_index.unwrap_or(0) != 0 => {
                return Err("Parameter 'cpu-index' expects a CPU number".into());
            }
            Command::HumanMonitorCommand { command_line, .. } => {
                return Ok(self.human(&command_line).await);
            }
            Command::QueryName => return Ok(self.query_name()),
            Command::Quit => Ok(()),
            Command::XChardevAttach { id, fdname, join } => self.attach(&id, &fdname, join).await,
            Command::XChardevSetWinsize { id, cols, rows } => {
                match self
                    .service
                    .chardevs
                    .resize(&id, TerminalSize { cols, rows })
                {
                    true => Ok(()),
                    false => Err(not_found(&id)),
                }
            }
            Command::XChardevWatch {
                id,
                fdname,
                from,
                drop_when_slow,
                framed,
            } => {
                let slow = if drop_when_slow {
                    Slow::Drop
                } else {
                    Slow::Skip
                };
                let from = view_from(from, ViewFrom::Now);
                return self.watch(&id, &fdname, Watch { from, slow, framed });
            }
            Command::XChardevHistory {
                id,
                from,
                size,
                format,
            } => {
                let from = view_from(from, ViewFrom::Oldest);
                return self.history(&id, from, size, format);
            }
            Command::XChardevTransaction { actions } => return self.transaction(actions).await,
            Command::XChardevSet { id, policy } => self.set_policy(&id, &policy),
            Command::XChardevHubAdd { id, chardev } => {
                let added = self.service.chardevs.hub_add(&id, &chardev);
                added.map_err(generic)
            }
            Command::XChardevHubRemove { id, chardev } => {
                let removed = self.service.chardevs.hub_remove(&id, &chardev);
                removed.map_err(generic)
            }
            Command::XChardevReopenLog { id } => {
                let reopened = self.service.chardevs.reopen_logs(id.as_deref()).await;
                reopened.map_err(generic)
            }
            Command::XChardevEvents { enable } => {
                self.client.set_hears(enable);
                Ok(())
            }
            Command::XMonitorAdd { fdname } => self.monitor_add(&fdname),
            Command::XQueryMonitors => return Ok(self.service.monitors.query()),
            Command::XQueryDevices => return Ok(self.service.devices.query()),
            Command::XDeviceRestart { id } => self.service.devices.restart(&id),
            Command::XQueryChardevStats { id } => return self.query_stats(id.as_deref()),
            Command::Own { name, arguments } => return self.own(name, arguments).await,
        };
        done.map(|()| Json::empty())
    }

    /// `chardev-change` of the chardev the command came over; see [`chardev::Chardevs::change_answering`].
    pub(crate) async fn change_answering(
        self,
        id: String,
        options: Options,
        answer: impl FnOnce(Json) -> Vec<u8> + Send + 'static,
    ) -> Result<Json, QmpError> {
        let answer = |info: &Info| answer(chardev_return(info));
        let chardevs = &self.service.chardevs;
        let changed = chardevs.change_answering(&id, &options, self.source(), answer);
        changed
            .await
            .map(|info| chardev_return(&info))
            .map_err(generic)
    }

    fn source(&self) -> Arc<dyn FdSource> {
        Arc::clone(&self.fds) as Arc<dyn FdSource>
    }

    fn query_chardev(&self) -> Json {
        let describe = |info: &Info| {
            Object::new()
                .with("frontend-open", info.frontend_open)
                .with("filename", info.filename.as_str())
                .with("label", info.label.as_str())
        };
        self.service
            .chardevs
            .list()
            .iter()
            .map(describe)
            .collect::<Vec<_>>()
            .into()
    }

    fn ringbuf_read(
        &self,
        device: &str,
        size: i64,
        format: ringbuf::Format,
    ) -> Result<Json, QmpError> {
        let size = usize::try_from(size).unwrap_or(0);
        let most = |ring: &RingBuffer| match format {
            ringbuf::Format::Utf8 => ringbuf::text_len(ring, size),
            ringbuf::Format::Base64 => size,
        };
        // A missing device is reported before a wrong size, as in QEMU.
        let content = self.service.chardevs.ring_take(device, most);
        let content = content.map_err(generic)?;
        if size == 0 {
            return Err("size must be greater than zero".into());
        }
        Ok(ringbuf::encode(content, format))
    }

    fn get_fd(&self, fdname: String, sent: Option<OwnedFd>) -> Result<(), QmpError> {
        let fd = sent.ok_or(NO_FD)?;
        self.fds.name(fdname, fd).map_err(generic)
    }

    fn add_client(&self, protocol: &str, fdname: &str) -> Result<(), QmpError> {
        let fd = self.fds.take(fdname)?;
        if rustix::net::sockopt::socket_type(&fd).is_err() {
            return Err("parameter @fdname must name a socket".into());
        }
        if !self.service.chardevs.contains(protocol) {
            return Err(format!("protocol '{protocol}' is invalid").into());
        }
        let added = self.service.chardevs.add_client(protocol, fd);
        added.map_err(|_| "failed to add client".into())
    }

    fn monitor_add(&self, fdname: &str) -> Result<(), QmpError> {
        let fd = self.fds.take(fdname)?;
        Monitor::serve(fd, self.service.clone()).map_err(generic)
    }

    /// All of them, or none if one is not there.
    fn yank(&self, instances: &[YankInstance]) -> Result<(), QmpError> {
        let yankable = self.service.chardevs.yankable();
        let known = |instance: &YankInstance| match instance {
            YankInstance::Chardev(id) => yankable.contains(id),
            YankInstance::BlockNode(_) | YankInstance::Migration => false,
        };
        if !instances.iter().all(known) {
            return Err(QmpError::device_not_found("Instance not found"));
        }
        for instance in instances {
            if let YankInstance::Chardev(id) = instance {
                self.service.chardevs.yank(id);
            }
        }
        Ok(())
    }

    fn query_yank(&self) -> Json {
        let labels = self.service.chardevs.yankable().into_iter();
        let describe = |id| Object::new().with("type", "chardev").with("id", id);
        labels
            .map(|id: String| describe(id))
            .collect::<Vec<_>>()
            .into()
    }

    fn query_status(&self) -> Json {
        let running = self.service.run.is_running();
        let status = if running { "running" } else { "paused" };
        let info = Object::new().with("status", status);
        info.with("running", running).into()
    }

    fn set_running(&self, running: bool) -> Result<(), QmpError> {
        if self.service.run.set_running(running) {
            let event = if running { "RESUME" } else { "STOP" };
            self.service.events.emit(event, None);
        }
        Ok(())
    }

    async fn human(&self, line: &str) -> Json {
        let version = self.service.version.to_text();
        let kinds = chardev::back::specs();
        let hmp = Hmp {
            kinds: &kinds,
            version: &version,
            history: &[],
        };
        let text = match hmp.begin(line) {
            Step::Print(text) => text,
            Step::Ask(Command::Quit, _) => {
                self.service.stop.request(Reason::Quit);
                String::new()
            }
            Step::Ask(command, show) => {
                let work = Box::pin(self.clone().run(command, None));
                match show.answer(&work.await) {
                    Json::Lazy(text) => {
                        return text.map(|piece| piece.replace('\n', "\r\n")).into();
                    }
                    text => text.as_str().unwrap_or_default().to_owned(),
                }
            }
        };
        text.replace('\n', "\r\n").into()
    }

    /// A command of the program's.
    async fn own(&self, name: &str, arguments: Object) -> Answer {
        let mut all = self.service.own_commands.iter();
        match all.find(|own| own.name() == name) {
            Some(own) => own.run(arguments, self.clone()).await,
            None => Err(QmpError::command_not_found(format!(
                "The command {name} has not been found"
            ))),
        }
    }

    fn query_name(&self) -> Json {
        match &self.service.name {
            Some(name) => Object::new().with("name", name.as_str()).into(),
            None => Json::empty(),
        }
    }

    async fn transaction(&self, actions: Vec<ChardevAction>) -> Result<Json, QmpError> {
        let actions: Vec<_> = actions
            .into_iter()
            .map(|action| match action {
                ChardevAction::Add { id, options } => Action::Add { id, options },
                ChardevAction::Change { id, options } => Action::Change { id, options },
                ChardevAction::Remove { id } => Action::Remove { id },
            })
            .collect();
        let done = self.service.chardevs.transaction(&actions, self.source());
        let infos = done.await.map_err(|error| {
            QmpError::generic(format!("action {}: {}", error.action, error.cause))
        })?;
        let returns = infos
            .iter()
            .map(|info| info.as_ref().map_or_else(Json::empty, chardev_return));
        Ok(returns.collect::<Vec<_>>().into())
    }

    fn set_policy(&self, id: &str, policy: &Options) -> Result<(), QmpError> {
        let change = chardev::policy_change(policy).map_err(generic)?;
        let set = self.service.chardevs.set_policy(id, change);
        set.map_err(|_| not_found(id))
    }

    fn query_stats(&self, id: Option<&str>) -> Result<Json, QmpError> {
        let accounts = self.service.chardevs.accounts(id);
        let described: Vec<_> = accounts
            .iter()
            .map(|(info, details)| {
                let attached = self.service.attached.describe(&info.label);
                stats::describe(info, details, attached)
            })
            .collect();
        match id {
            Some(id) if described.is_empty() => Err(not_found(id)),
            _ => Ok(described.into()),
        }
    }
}

fn chardev_return(info: &Info) -> Json {
    match &info.pty {
        Some(pty) => Object::new().with("pty", pty.as_str()).into(),
        None => Json::empty(),
    }
}

fn query_chardev_backends() -> Json {
    let names = KINDS
        .iter()
        .map(|kind| Object::new().with("name", kind.spec.name));
    names.collect::<Vec<_>>().into()
}

fn not_found(id: &str) -> QmpError {
    format!("Chardev '{id}' not found").into()
}

fn generic(error: impl ToString) -> QmpError {
    QmpError::generic(error.to_string())
}

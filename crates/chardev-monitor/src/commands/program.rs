//! The program as a whole: its state, its name, its monitors, its own commands.

use chardev_qapi::spec::{Expected, ParameterError};
use chardev_qapi::{Json, Object, QmpError};
use chardev_qmp::Command;
use chardev_qmp::hmp::{Hmp, Step};

use super::Tried;
use crate::caller::Caller;
use crate::own::Answer;
use crate::stop::Reason;
use crate::{options, qom};

impl Caller {
    pub(super) async fn try_program(&self, command: Command) -> Tried {
        let service = &self.service;
        Ok(match command {
            Command::QueryStatus => Ok(self.query_status()),
            Command::Stop => Ok(self.set_running(false)),
            Command::Cont => Ok(self.set_running(true)),
            Command::QueryName => Ok(self.query_name()),
            Command::Quit => Ok(Json::empty()),
            Command::QomList { path } => qom::list(&service.chardevs, &path),
            Command::QomListTypes {
                implements,
                with_abstract,
            } => {
                let kinds = self.chardevs().kinds();
                Ok(qom::list_types(
                    &kinds,
                    implements.as_deref(),
                    with_abstract,
                ))
            }
            Command::QueryCommandLineOptions { option } => {
                let kinds = service.chardevs.kinds();
                options::query(&kinds, service.options, option.as_deref())
            }
            // Clients such as qmp-shell always name the first processor, which every machine has.
            Command::HumanMonitorCommand { cpu_index, .. } if cpu_index.unwrap_or(0) != 0 => {
                let expected = Expected::Other("a CPU number");
                Err(ParameterError::expects("cpu-index", expected).into())
            }
            Command::HumanMonitorCommand { command_line, .. } => {
                Ok(self.human(&command_line).await)
            }
            Command::XChardevEvents { enable } => {
                self.client.set_hears(enable);
                Ok(Json::empty())
            }
            Command::XQueryMonitors => Ok(service.monitors.query()),
            Command::XQueryDevices => Ok(service.devices.query()),
            Command::DeviceAdd { line } => {
                let added = service.devices.add(line).await;
                added.map(|()| Json::empty())
            }
            Command::DeviceDel { id } => service.devices.remove(&id).map(|()| Json::empty()),
            Command::XDeviceRestart { id } => service.devices.restart(&id).map(|()| Json::empty()),
            Command::Own { name, arguments } => self.own(name, arguments).await,
            other => return Err(other),
        })
    }

    fn query_status(&self) -> Json {
        let running = self.service.run.is_running();
        let status = if running { "running" } else { "paused" };
        let info = Object::new().with("status", status);
        info.with("running", running).into()
    }

    fn set_running(&self, running: bool) -> Json {
        if self.service.run.set_running(running) {
            let event = if running { "RESUME" } else { "STOP" };
            self.service.events.emit(event, None);
        }
        Json::empty()
    }

    async fn human(&self, line: &str) -> Json {
        let version = self.service.version.to_text();
        let kinds = self.chardevs().kinds();
        let hmp = Hmp {
            kinds: &kinds,
            version: &version,
            history: &[],
        };
        let text = match hmp.begin(line) {
            Step::Print(text) => text,
            Step::Ask(Command::Quit, show) => match self.permit(&Command::Quit) {
                Ok(_) => {
                    self.service.stop.request(Reason::Quit);
                    String::new()
                }
                Err(error) => show
                    .answer(&Err(error))
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            },
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
}

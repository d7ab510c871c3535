//! How a configuration is asked for: `x-query-consoles` and `x-reload`, and on a hang-up.

use std::path::{Path, PathBuf};
use std::time::Instant;

use chardev::Chardevs;
use chardev_monitor::schema::{Type, optional, required};
use chardev_monitor::{Answer, Json, Object, OwnCommand, QmpError};
use tokio::sync::{mpsc, oneshot};

use super::item::Sort;
use super::keeper::Request;
use super::report::Report;
use super::table::{Kept, State, Table};
use crate::fleet::Membership;
use crate::metrics::Configured;
use crate::tokens::Store;
use crate::web::Page;

/// How many reloads wait for one that is in work.
const WAITING: usize = 8;

/// What a keeper is asked.
pub(crate) type Asked = mpsc::Receiver<Request>;

/// The configuration of a daemon, for whoever asks about it. Clones are of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    file: Option<PathBuf>,
    pub(crate) table: Table,
    pub(crate) metrics: Configured,
    pub(crate) tokens: Store,
    pub(crate) page: Page,
    pub(crate) fleet: Membership,
    requests: mpsc::Sender<Request>,
}

impl Config {
    /// That of a daemon that was started with `file`, if any, and what its keeper is asked.
    pub(crate) fn new(file: Option<PathBuf>) -> (Self, Asked) {
        let (requests, asked) = mpsc::channel(WAITING);
        let config = Config {
            file,
            table: Table::default(),
            metrics: Configured::default(),
            tokens: Store::default(),
            page: Page::default(),
            fleet: Membership::default(),
            requests,
        };
        (config, asked)
    }

    /// The file that it begins with.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Has the files read again, if there are any.
    pub(crate) fn hang_up(&self) {
        if self.file.is_some() {
            // With so many waiting, one of them reads what there is now.
            let _ = self.requests.try_send(Request::HangUp);
        }
    }

    /// The commands about it.
    pub(crate) fn commands(&self) -> [OwnCommand; 2] {
        let console = [
            required("name", Type::Str),
            required("section", Type::words(&["chardev", "console", "device"])),
            required("state", Type::words(&["running", "failed", "starting"])),
            optional("reason", Type::Str),
            optional("tries", Type::Int),
            optional("next-try-ms", Type::Int),
            required("from", Type::Str),
            optional("to", Type::Str),
            optional("pty", Type::Str),
            optional("chardev", Type::Str),
            optional("parts", Type::list(Type::Str)),
            optional("device", Type::Str),
            required("groups", Type::list(Type::Str)),
            optional("description", Type::Str),
            required("place", Type::Str),
        ];
        let (asked, reloaded) = (self.clone(), self.clone());
        [
            OwnCommand::new("x-query-consoles", move |_, caller| {
                Ok(asked.query(caller.chardevs()))
            })
            .lists_chardevs()
            .takes([])
            .returns(Type::list(Type::object(console))),
            OwnCommand::waiting("x-reload", move |_, _| {
                let config = reloaded.clone();
                async move { config.reload().await }
            })
            .takes([])
            .returns(Report::schema()),
        ]
    }

    fn query(&self, chardevs: &Chardevs) -> Json {
        let all = self.table.lock().clone();
        let consoles = all.iter().map(|kept| describe(kept, chardevs));
        consoles.collect::<Vec<_>>().into()
    }

    async fn reload(&self) -> Answer {
        if self.file.is_none() {
            return Err(
                "the daemon was started without --config, so there is nothing to read".into(),
            );
        }
        let (answer, answered) = oneshot::channel();
        let ending = || QmpError::from("the daemon is starting or ending; try again");
        let sent = self.requests.send(Request::Reload(answer)).await;
        sent.map_err(|_| ending())?;
        match answered.await.map_err(|_| ending())? {
            Ok(report) => Ok(report.json()),
            Err(why) => Err(why.into()),
        }
    }
}

fn describe(kept: &Kept, chardevs: &Chardevs) -> Object {
    let Kept {
        item,
        state,
        device,
    } = kept;
    let mut console = Object::new().with("name", item.name.as_str());
    let section = match item.sort {
        Sort::Chardev => "chardev",
        Sort::Console => "console",
        Sort::Device => "device",
    };
    console.insert("section", section);
    match state {
        State::Starting => console.insert("state", "starting"),
        State::Running => console.insert("state", "running"),
        State::Failed { why, tries, next } => {
            console.insert("state", "failed");
            console.insert("reason", why.as_str());
            console.insert("tries", i64::from(*tries));
            let pause = next.saturating_duration_since(Instant::now()).as_millis();
            console.insert("next-try-ms", i64::try_from(pause).unwrap_or(i64::MAX));
        }
    }
    console.insert("from", item.about.from.as_str());
    // One of the same name that failed may be somebody else's.
    let running = matches!(state, State::Running);
    if let Some(info) = chardevs.info(&item.name).filter(|_| running) {
        console.insert("to", info.filename);
        if let Some(pty) = info.pty {
            console.insert("pty", pty);
        }
    }
    if item.sort != Sort::Device {
        console.insert("chardev", item.name.as_str());
    }
    let parts = item.chardevs.iter().map(|part| part.id.as_str());
    let parts = parts.filter(|id| *id != item.name);
    let parts: Vec<Json> = parts.map(Json::from).collect();
    if !parts.is_empty() {
        console.insert("parts", parts);
    }
    if let Some(device) = device {
        console.insert("device", device.as_str());
    }
    let groups = item
        .about
        .groups
        .iter()
        .map(|group| Json::from(group.as_str()));
    console.insert("groups", groups.collect::<Vec<_>>());
    if let Some(description) = &item.about.description {
        console.insert("description", description.as_str());
    }
    console.with("place", item.place.to_string())
}

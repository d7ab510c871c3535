//! The chardevs: adding, changing, removing and asking them.

use chardev::spec::KindSpec;
use chardev::spec::Options;
use chardev::{Action, Info};
use chardev_qapi::{Json, Object, QmpError};
use chardev_qmp::{ChardevAction, Command, YankInstance};

use super::{Tried, chardev_return, done, generic, not_found};
use crate::caller::Caller;
use crate::own::Answer;
use crate::stats;

impl Caller {
    pub(super) async fn try_chardevs(&self, command: Command) -> Tried {
        let chardevs = &self.service.chardevs;
        Ok(match command {
            Command::ChardevAdd { id, options } => {
                let added = chardevs.add_with(&id, &options, self.source()).await;
                added.map(|info| chardev_return(&info)).map_err(Into::into)
            }
            Command::ChardevChange { id, options } => {
                let changed = chardevs.change_with(&id, &options, self.source()).await;
                changed.map(|info| chardev_return(&info)).map_err(generic)
            }
            Command::ChardevRemove { id } => done(chardevs.remove(&id).await),
            Command::ChardevSendBreak { id } => done(chardevs.send_break(&id)),
            Command::QueryChardev => Ok(self.query_chardev()),
            Command::QueryChardevBackends => Ok(query_chardev_backends(&self.chardevs().kinds())),
            Command::Yank { instances } => self.yank(&instances).map(|()| Json::empty()),
            Command::QueryYank => Ok(self.query_yank()),
            Command::XChardevAttach { id, fdname, join } => {
                let given = self.attach(&id, &fdname, join).await;
                given.map(|given| {
                    let offset = Object::new().with("offset", given.from);
                    offset.with("live", given.live).into()
                })
            }
            Command::XChardevTransaction { actions } => self.transaction(actions).await,
            Command::XChardevSet { id, policy } => self.set_policy(&id, &policy),
            Command::XChardevHubAdd { id, chardev } => done(chardevs.hub_add(&id, &chardev)),
            Command::XChardevHubRemove { id, chardev } => done(chardevs.hub_remove(&id, &chardev)),
            Command::XChardevReopenLog { id } => done(chardevs.reopen_logs(id.as_deref()).await),
            Command::XQueryChardevStats { id } => self.query_stats(id.as_deref()),
            other => return Err(other),
        })
    }

    /// `chardev-change` of the chardev the command came over; see
    /// [`chardev::Chardevs::change_answering`].
    pub(crate) async fn change_answering(
        self,
        id: String,
        options: Options,
        answer: impl FnOnce(Json) -> Vec<u8> + Send + 'static,
    ) -> Result<Json, QmpError> {
        let command = Command::ChardevChange { id, options };
        self.permit(&command)?;
        let Command::ChardevChange { id, options } = command else {
            return Err("no change".into());
        };
        let answer = move |info: &Info| answer(chardev_return(info));
        let chardevs = &self.service.chardevs;
        let changed = chardevs.change_answering(&id, &options, self.source(), answer);
        changed
            .await
            .map(|info| chardev_return(&info))
            .map_err(generic)
    }

    fn query_chardev(&self) -> Json {
        let describe = |info: Info| {
            Object::new()
                .with("frontend-open", info.frontend_open)
                .with("filename", info.filename)
                .with("label", info.label)
        };
        let all = self.service.chardevs.list().into_iter();
        all.map(describe).collect::<Vec<_>>().into()
    }

    /// All of them, or none if one is not there.
    fn yank(&self, instances: &[YankInstance]) -> Result<(), QmpError> {
        let known = |instance: &YankInstance| match instance {
            YankInstance::Chardev(id) => self.service.chardevs.is_yankable(id),
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

    async fn transaction(&self, actions: Vec<ChardevAction>) -> Result<Json, QmpError> {
        let actions: Vec<_> = actions
            .into_iter()
            .map(|action| match action {
                ChardevAction::Add { id, options } => Action::Add { id, options },
                ChardevAction::Change { id, options } => Action::Change { id, options },
                ChardevAction::Remove { id } => Action::Remove { id },
            })
            .collect();
        let done = self
            .service
            .chardevs
            .transaction_with(&actions, self.source());
        let infos = done.await.map_err(|error| {
            let desc = format!("action {}: {}", error.action, error.cause);
            QmpError::because(error).shown_as(desc)
        })?;
        let returns = infos
            .iter()
            .map(|info| info.as_ref().map_or_else(Json::empty, chardev_return));
        Ok(returns.collect::<Vec<_>>().into())
    }

    fn set_policy(&self, id: &str, policy: &Options) -> Answer {
        let change = policy.policy().map_err(generic)?;
        let set = self.service.chardevs.set_policy(id, change);
        set.map(|()| Json::empty()).map_err(|_| not_found(id))
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

fn query_chardev_backends(kinds: &[&KindSpec]) -> Json {
    let names = kinds
        .iter()
        .map(|kind| Object::new().with("name", kind.name));
    names.collect::<Vec<_>>().into()
}

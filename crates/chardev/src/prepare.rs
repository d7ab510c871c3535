//! front → [chardev] → back → host: from options to the steps of a transaction.

use std::sync::Arc;

use chardev_core::spec::{OptionValue, Options, ParameterError, SocketAddress};
use chardev_core::{
    AddError, Backend, Change, ChangeError, ChardevRef, Group, LogSink, NewBackend, Old, OpenError,
    PolicyChange, RemoveError, Step,
};

use crate::back::{FdSource, OpenContext};
use crate::chardevs::{Chardevs, Info, Shared};
use crate::port::Port;
use crate::scene::Scene;
use crate::writer;

/// A back end that is open and not yet live.
struct Opened {
    backend: Box<dyn Backend>,
    policy: PolicyChange,
    log: Option<Box<dyn LogSink>>,
    options: Options,
    handover: bool,
}

/// A front end over a multiplexer whose slot moves with it.
type Sibling = ChardevRef;

impl Chardevs {
    /// The surroundings of a transaction that replaces or removes the back ends of `leaving`.
    pub(crate) fn scene(&self, leaving: Vec<ChardevRef>) -> Scene {
        Scene {
            registry: self.registry().clone(),
            shared: Arc::clone(self.shared()),
            coming: Arc::default(),
            leaving: leaving.into(),
            target: None,
        }
    }

    /// Opens a new chardev and shows it to what comes after it in the same transaction.
    pub(crate) async fn prepare_add(
        &self,
        id: &str,
        options: Options,
        fds: Arc<dyn FdSource>,
        scene: &mut Scene,
    ) -> Result<Step, AddError> {
        let reservation = self.registry().reserve(id)?;
        let port = Port::of(self.shared(), Arc::clone(reservation.id()));
        let opened = open(&port, options, fds, scene).await;
        let opened = opened.map_err(|cause| AddError::Open {
            id: id.to_owned(),
            cause,
        })?;
        let policy = chardev_core::Policy::default().with(opened.policy);
        let chardev = {
            let (id, backend) = (Arc::clone(reservation.id()), opened.backend);
            ChardevRef::prepare(id, port.id(), backend, policy, opened.log)
        };
        chardev.with(|chardev| chardev.set_options(opened.options));
        chardev.with(|chardev| chardev.keep_landmarks(writer::since_epoch));
        chardev.with(|chardev| match opened.policy.history {
            Some(history) => chardev.set_scrollback(history),
            None => chardev.set_default_scrollback(self.shared().default_history()),
        });
        port.connect(&chardev);
        Arc::make_mut(&mut scene.coming).push(chardev.clone());
        Ok(Step::Add {
            reservation,
            chardev,
        })
    }

    /// Opens what replaces the back end of chardev `id`, and asks its front ends. `answer` makes
    /// what the old peer is told at the end.
    pub(crate) async fn prepare_change(
        &self,
        id: &str,
        options: Options,
        fds: Arc<dyn FdSource>,
        scene: &Scene,
        answer: impl FnOnce(&Info) -> Vec<u8>,
    ) -> Result<Vec<Step>, ChangeError> {
        let chardev = scene
            .find(id)
            .ok_or_else(|| ChangeError::NotFound(id.to_owned()))?;
        let change = Change::begin(&chardev)?;
        let mut scene = scene.clone();
        scene.target = Some(chardev.clone());
        let port = Port::of_chardev(self.shared(), &chardev);
        let opened = open(&port, options, fds, &scene).await;
        let mut opened = opened.map_err(ChangeError::Open)?;
        let open = chardev.with(|chardev| chardev.frontend_open());
        let final_output = answer(&Info::ahead(id, &mut *opened.backend, open));
        let mut new = NewBackend {
            id: port.id(),
            backend: opened.backend,
            policy: opened.policy,
            log: opened.log,
            options: Some(Box::new(opened.options)),
            handover: opened.handover,
            final_output,
        };
        let offered = change.offer(&mut new).and_then(|offer| {
            port.connect(&chardev);
            Ok((offer, self.move_siblings(&chardev, &new)?))
        });
        let (offer, siblings) = match offered {
            Ok(offered) => offered,
            Err(error) => {
                self.discard(new).await;
                return Err(error);
            }
        };
        let mut steps = vec![Step::Change {
            change,
            offer,
            new,
            old: Old::Retire,
        }];
        steps.extend(siblings);
        Ok(steps)
    }

    /// Puts the connected stream socket in `fds` in front of the back end of `id`.
    pub(crate) async fn prepare_attach(
        &self,
        id: &str,
        fds: Arc<dyn FdSource>,
    ) -> Result<Step, ChangeError> {
        let address = SocketAddress::Fd("peer".to_owned());
        let options = Options::new("socket")
            .with("addr", OptionValue::Address(address))
            .with("server", OptionValue::Bool(false));
        let scene = self.scene(Vec::new());
        let steps = self.prepare_change(id, options, fds, &scene, |_| Vec::new());
        let Some(Step::Change {
            change, offer, new, ..
        }) = steps.await?.into_iter().next()
        else {
            return Err(ChangeError::NotFound(id.to_owned()));
        };
        Ok(Step::Change {
            change,
            offer,
            new,
            old: Old::Park,
        })
    }

    /// Prepares the removal of chardev `id`.
    pub(crate) fn prepare_removal(&self, id: &str) -> Result<Step, RemoveError> {
        self.registry().begin_removal(id).map(Step::Remove)
    }

    /// The other front ends of a multiplexer that is replaced go along to the new one.
    fn move_siblings(
        &self,
        chardev: &ChardevRef,
        new: &NewBackend,
    ) -> Result<Vec<Step>, ChangeError> {
        let siblings = siblings(chardev);
        if siblings.is_empty() {
            return Ok(Vec::new());
        }
        let kind = new.backend.kind();
        let mux = new
            .backend
            .group()
            .and_then(Group::as_mux)
            .ok_or_else(|| ChangeError::Refused {
                id: label(chardev),
                reason: format!(
                    "{} more front ends use it through the multiplexer, but a {kind} takes only one; detach them first",
                    siblings.len()
                ),
            })?;
        let mut steps = Vec::with_capacity(siblings.len());
        for sibling in siblings {
            let change = Change::begin(&sibling)?;
            let port = Port::of_chardev(self.shared(), chardev);
            let mut new = NewBackend::new(port.id(), mux.slot());
            let offer = change.offer(&mut new)?;
            port.connect(&sibling);
            steps.push(Step::Change {
                change,
                offer,
                new,
                old: Old::Retire,
            });
        }
        Ok(steps)
    }
}

fn siblings(chardev: &ChardevRef) -> Vec<Sibling> {
    let users = chardev.with(|chardev| chardev.mux().map(|mux| mux.users().clone()));
    let all = users.map_or_else(Vec::new, |users| users.all());
    all.into_iter()
        .filter(|user| !user.is(chardev) && user.with(|user| user.has_front_end()))
        .collect()
}

fn label(chardev: &ChardevRef) -> String {
    chardev.with(|chardev| chardev.label().to_owned())
}

async fn open(
    port: &Port,
    options: Options,
    fds: Arc<dyn FdSource>,
    scene: &Scene,
) -> Result<Opened, OpenError> {
    let options = with_directory(options, &scene.shared);
    let kind = scene
        .shared
        .kind(options.kind())
        .ok_or_else(|| ParameterError::no_kind(options.kind()))?;
    options.check(&kind.spec)?;
    let policy = options.policy()?;
    let log = open_log(port, &options, &fds).await?;
    let handover = options.bool_or("x-handover", false);
    let context = OpenContext {
        port: port.clone(),
        fds,
        handover,
        scene: scene.clone(),
    };
    match (kind.open)(&options, &context).await {
        Ok(backend) => Ok(Opened {
            backend,
            policy,
            log,
            options,
            handover,
        }),
        Err(cause) => {
            if log.is_some() {
                port.offload(move || drop(log)).await;
            }
            Err(cause)
        }
    }
}

/// Opening a log may wait for a disk; without one there is nothing to wait for.
async fn open_log(
    port: &Port,
    options: &Options,
    fds: &Arc<dyn FdSource>,
) -> Result<Option<Box<dyn LogSink>>, OpenError> {
    let log_port = port.for_log();
    let Some(path) = options.str("logfile").map(str::to_owned) else {
        return writer::open_log(options, &**fds, &log_port);
    };
    let (options, fds) = (options.clone(), Arc::clone(fds));
    let opening = port.offload_open(move || writer::open_log(&options, &*fds, &log_port));
    let opened = opening.await;
    opened.map_err(|why| format!("Unable to open logfile {path}: {why}"))?
}

/// What paths mean is decided now: a daemon may go to another directory before it opens one again.
fn with_directory(mut options: Options, shared: &Shared) -> Options {
    // Without a directory, because it was removed, no relative path means anything anyway.
    if let Ok(directory) = std::env::current_dir() {
        options.start_paths_at(shared.one_text(directory));
    }
    options
}

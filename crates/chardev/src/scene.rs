//! The surroundings in which a back end is opened: the other chardevs, and who is about to leave.

use std::sync::Arc;

use chardev_core::{
    AttachError, ChardevRef, FrontEnd, FrontEndHooks, Link, LinkHooks, OpenError, Registry,
    WantLink, attach_further,
};

use crate::chardevs::Shared;
use crate::port::Port;

/// The chardevs around a back end that is being opened. Each gets a copy.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) registry: Registry,
    pub(crate) shared: Arc<Shared>,
    /// Chardevs that the same transaction adds.
    pub(crate) coming: Arc<Vec<ChardevRef>>,
    /// Chardevs whose back ends the same transaction replaces or removes.
    pub(crate) leaving: Arc<[ChardevRef]>,
    /// The chardev the back end is for, if there is one already.
    pub(crate) target: Option<ChardevRef>,
}

impl Scene {
    /// The chardev called `id`, also one that is only coming.
    pub(crate) fn find(&self, id: &str) -> Option<ChardevRef> {
        let coming = self
            .coming
            .iter()
            .find(|chardev| chardev.with(|chardev| chardev.label() == id));
        coming.cloned().or_else(|| self.registry.get(id))
    }

    /// A link to the chardev `id`, shared with the back end that is replaced if it has one.
    ///
    /// # Errors
    /// There is no such chardev, which is shown as `missing`; or it is in use, or rests on the
    /// target itself.
    pub(crate) fn link(&self, id: &str, missing: String) -> Result<Link, OpenError> {
        let wanted = WantLink(id.to_owned());
        for chardev in &*self.leaving {
            let lent = chardev.with(|chardev| chardev.lend(&wanted));
            if let Some(link) = lent.and_then(|lent| lent.downcast::<Link>().ok()) {
                return Ok(*link);
            }
        }
        let not_found = || OpenError::from(AttachError::NotFound(id.to_owned())).shown_as(missing);
        let chardev = self.find(id).ok_or_else(not_found)?;
        if let Some(target) = self.target.as_ref().filter(|it| chardev.rests_on(it)) {
            let target = target.with(|target| target.label().to_owned());
            let text = format!(
                "chardev '{id}' cannot be under '{target}': it is that chardev, or is stacked on it"
            );
            return Err(OpenError::new(text).about(id));
        }
        let hooks = Arc::new(LinkHooks::default());
        let front = attach(&self.shared, &chardev, hooks.clone())?;
        Ok(Link::new(front, hooks))
    }
}

/// Attaches a front end to `chardev`; on a multiplexer that has one already, to a further slot.
pub(crate) fn attach(
    shared: &Arc<Shared>,
    chardev: &ChardevRef,
    hooks: Arc<dyn FrontEndHooks>,
) -> Result<FrontEnd, AttachError> {
    match FrontEnd::attach(chardev, Arc::clone(&hooks)) {
        Err(AttachError::InUse(_)) => {}
        attached => return attached,
    }
    let port = Port::of_chardev(shared, chardev);
    let (front, further) = attach_further(chardev, port.id(), hooks)?;
    port.connect(&further);
    Ok(front)
}

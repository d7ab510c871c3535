//! Which chardev rests on which. None may ever come to rest on itself, because calls go downwards
//! under the locks of those above.
//!
//! A look when a back end is opened gives an early answer; the one that counts is taken here, when
//! nobody else can change the graph and all steps of a transaction are known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::BackendId;
use crate::chardev::ChardevRef;
use crate::error::AttachError;
use crate::frontend::{FrontEnd, FrontEndHooks};
use crate::policy::Policy;

/// The most chardevs that may rest on each other, one under the other: a call goes down through all
/// of them, on one stack.
pub(crate) const DEPTH_LIMIT: usize = 32;

static GRAPH: Mutex<()> = Mutex::new(());

/// What a chardev is to rest on.
pub(crate) type Planned = (ChardevRef, Vec<ChardevRef>);

/// The first of `planned` with which more than [`DEPTH_LIMIT`] would rest on each other.
pub(crate) fn first_too_deep(planned: &[Planned]) -> Option<usize> {
    planned.iter().position(|(chardev, on)| {
        let is_base = on.is_empty() && chardev.with(|chardev| chardev.is_free());
        let depths = || {
            let under = depth(chardev, &mut Vec::new(), &|one| members(one, planned));
            let over = depth(chardev, &mut Vec::new(), &above);
            under + over - 1
        };
        !is_base && depths() > DEPTH_LIMIT
    })
}

/// How many follow each other from `chardev` on, itself included; no more is looked at than need
/// be.
fn depth(
    chardev: &ChardevRef,
    known: &mut Vec<(ChardevRef, usize)>,
    next: &dyn Fn(&ChardevRef) -> Vec<ChardevRef>,
) -> usize {
    if let Some((_, depth)) = known.iter().find(|(one, _)| one.is(chardev)) {
        return *depth;
    }
    // It is not deeper than the limit yet, or would not be there.
    let deepest = next(chardev)
        .iter()
        .map(|one| depth(one, known, next))
        .max();
    let depth = 1 + deepest.unwrap_or(0);
    known.push((chardev.clone(), depth));
    depth
}

fn above(chardev: &ChardevRef) -> Vec<ChardevRef> {
    let hooks = chardev.with(|chardev| chardev.front.as_ref().map(|front| front.hooks.clone()));
    hooks.map_or_else(Vec::new, |hooks| hooks.above())
}

/// Keeps everybody else from changing the graph.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    GRAPH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first of `planned` that would come to rest on itself, if all of them happened.
pub(crate) fn first_cycle(planned: &[Planned]) -> Option<usize> {
    planned.iter().position(|(chardev, members)| {
        let mut seen = Vec::new();
        members
            .iter()
            .any(|member| reaches(member, chardev, planned, &mut seen))
    })
}

/// The places of all of `planned`, each after those it is to rest on.
pub(crate) fn from_below(planned: &[Planned]) -> Vec<usize> {
    if planned.iter().all(|(_, members)| members.is_empty()) {
        return (0..planned.len()).collect();
    }
    let mut order = Vec::with_capacity(planned.len());
    let mut seen = Vec::new();
    for (chardev, _) in planned {
        visit(chardev, planned, &mut seen, &mut order);
    }
    order
}

fn visit(
    from: &ChardevRef,
    planned: &[Planned],
    seen: &mut Vec<ChardevRef>,
    order: &mut Vec<usize>,
) {
    if seen.iter().any(|one| one.is(from)) {
        return;
    }
    seen.push(from.clone());
    for member in members(from, planned) {
        visit(&member, planned, seen, order);
    }
    order.extend(planned.iter().position(|(chardev, _)| chardev.is(from)));
}

/// What `chardev` rests on once all of `planned` has happened.
fn members(chardev: &ChardevRef, planned: &[Planned]) -> Vec<ChardevRef> {
    match planned.iter().find(|(known, _)| known.is(chardev)) {
        Some((_, members)) => members.clone(),
        None => chardev.with(|chardev| chardev.backend.members()),
    }
}

/// The first of `planned` that is a multiplexer with a front end that came after the plan was made,
/// and would be left on a multiplexer that nothing names any more.
pub(crate) fn first_left_behind(planned: &[Planned]) -> Option<usize> {
    planned.iter().position(|(chardev, _)| {
        let users = chardev.with(|chardev| chardev.backend.as_mux().map(|mux| mux.users().clone()));
        let all = users.map_or_else(Vec::new, |users| users.all());
        all.iter()
            .filter(|user| user.with(|user| user.has_front_end()))
            .any(|user| !planned.iter().any(|(known, _)| known.is(user)))
    })
}

/// The places of all that are `planned`, what is now below others before those.
pub(crate) fn now_from_below(planned: &[Planned]) -> Vec<usize> {
    let rests = |(chardev, _): &Planned| !chardev.with(|chardev| chardev.all_members()).is_empty();
    if !planned.iter().any(rests) {
        return (0..planned.len()).collect();
    }
    let mut order = Vec::with_capacity(planned.len());
    let mut seen = Vec::new();
    for (chardev, _) in planned {
        visit_now(chardev, planned, &mut seen, &mut order);
    }
    order
}

fn visit_now(
    chardev: &ChardevRef,
    planned: &[Planned],
    seen: &mut Vec<ChardevRef>,
    order: &mut Vec<usize>,
) {
    if seen.iter().any(|one| one.is(chardev)) {
        return;
    }
    seen.push(chardev.clone());
    for member in chardev.with(|chardev| chardev.all_members()) {
        visit_now(&member, planned, seen, order);
    }
    order.extend(planned.iter().position(|(one, _)| one.is(chardev)));
}

/// Attaches one more front end to the multiplexer `chardev`, over a slot whose back end is called
/// `id`. The second value is that slot's chardev.
///
/// # Errors
/// The chardev is no multiplexer, and is in use.
pub fn attach_further(
    chardev: &ChardevRef,
    id: BackendId,
    hooks: Arc<dyn FrontEndHooks>,
) -> Result<(FrontEnd, ChardevRef), AttachError> {
    // A change of the multiplexer that is being decided knows its front ends.
    let _graph = hold();
    let (label, mux) = chardev.with(|chardev| {
        let mux = chardev.backend.as_mux().cloned();
        (chardev.label.to_string(), mux)
    });
    let mux = mux.ok_or_else(|| AttachError::InUse(label.clone()))?;
    let further = ChardevRef::new(&*label, id, mux.slot(), Policy::default(), None);
    Ok((FrontEnd::attach(&further, hooks)?, further))
}

fn reaches(
    from: &ChardevRef,
    target: &ChardevRef,
    planned: &[Planned],
    seen: &mut Vec<ChardevRef>,
) -> bool {
    if from.is(target) {
        return true;
    }
    if seen.iter().any(|one| one.is(from)) {
        return false;
    }
    seen.push(from.clone());
    members(from, planned)
        .iter()
        .any(|member| reaches(member, target, planned, seen))
}

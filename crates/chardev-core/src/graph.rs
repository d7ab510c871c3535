//! What rests on what: no chardev may ever come to rest on itself, since calls go downwards under
//! the locks of those above.
//!
//! A look when a back end is opened gives an early answer; the one that counts is taken here, when
//! nobody else can change the graph and all steps of a transaction are known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::chardev::ChardevRef;

static GRAPH: Mutex<()> = Mutex::new(());

/// What a chardev is to rest on.
pub(crate) type Planned = (ChardevRef, Vec<ChardevRef>);

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
    let members = match planned.iter().find(|(chardev, _)| chardev.is(from)) {
        Some((_, members)) => members.clone(),
        None => from.with(|chardev| chardev.backend.members()),
    };
    members
        .iter()
        .any(|member| reaches(member, target, planned, seen))
}

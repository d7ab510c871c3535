//! What a reload has to do: the items that are wanted beside those that were.

use std::collections::HashMap;

use chardev::Action;
use chardev::spec::{COMMON_OPTIONS, OptionValue, Options};

use super::item::{Item, Part, Sort};
use super::table::{Kept, State};

/// What becomes of an item.
#[derive(Debug)]
pub(super) enum Fate {
    /// Nothing is to be done.
    Same(Kept),
    /// It was there, and parts of it differ.
    Changed(Box<Kept>, Item),
    /// It was not there, or had failed: it is started as a whole.
    Started(Item, Before),
    /// It is wanted no more.
    Gone(Kept),
}

/// What there was of an item that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It is new.
    Nothing,
    /// It had failed, and says the same.
    Same,
    /// It had failed, and says something else.
    Other,
}

impl Fate {
    /// What it does to chardevs. `exists` knows which there are: somebody may have removed some.
    /// A chardev whose history is said no more has `history`.
    pub(super) fn actions(&self, exists: &dyn Fn(&str) -> bool, history: usize) -> Vec<Action> {
        match self {
            Fate::Same(_) => Vec::new(),
            Fate::Started(item, _) => item.chardevs.iter().map(add).collect(),
            Fate::Changed(kept, item) => {
                let parts = item.chardevs.iter();
                let mut actions: Vec<_> = parts
                    .filter_map(|part| change(&kept.item, part, exists, history))
                    .collect();
                let gone = kept.item.chardevs.iter().rev();
                let gone = gone.filter(|part| item.part(&part.id).is_none() && exists(&part.id));
                actions.extend(gone.map(let_go));
                actions
            }
            Fate::Gone(kept) => {
                let parts = kept.item.chardevs.iter().rev();
                parts.filter(|part| exists(&part.id)).map(let_go).collect()
            }
        }
    }

    /// The chardevs that go once no device has them any more, those that rest on others first.
    pub(super) fn leaving(&self) -> Vec<String> {
        let (kept, item) = match self {
            Fate::Changed(kept, item) => (&**kept, Some(item)),
            Fate::Gone(kept) => (kept, None),
            Fate::Same(_) | Fate::Started(..) => return Vec::new(),
        };
        let parts = kept.item.chardevs.iter().rev();
        parts
            .filter(|part| item.is_none_or(|item| item.part(&part.id).is_none()))
            .map(|part| part.id.clone())
            .collect()
    }
}

/// What becomes of each item that is or was wanted, in the order of those that are.
pub(super) fn compare(old: Vec<Kept>, new: Vec<Item>) -> Vec<Fate> {
    let key = |item: &Item| (item.sort, item.name.clone());
    let mut old: HashMap<(Sort, String), Kept> = old
        .into_iter()
        .map(|kept| (key(&kept.item), kept))
        .collect();
    let mut fates: Vec<Fate> = Vec::with_capacity(new.len());
    for item in new {
        fates.push(match old.remove(&key(&item)) {
            None => Fate::Started(item, Before::Nothing),
            Some(kept) => match (kept.item.is_same(&item), &kept.state) {
                (true, State::Running) => Fate::Same(Kept { item, ..kept }),
                (false, State::Running) => Fate::Changed(Box::new(kept), item),
                (true, _) => Fate::Started(item, Before::Same),
                (false, _) => Fate::Started(item, Before::Other),
            },
        });
    }
    let mut gone: Vec<Kept> = old.into_values().collect();
    gone.sort_by(|one, other| one.item.place.cmp(&other.item.place));
    fates.extend(gone.into_iter().map(Fate::Gone));
    fates
}

/// The policies that a console is given without a change of its back end; its history is
/// `history` if that is said no more.
pub(super) fn policies(old: &Item, new: &Item, history: usize) -> Vec<(String, Options)> {
    let parts = new.chardevs.iter().filter_map(|part| {
        let before = &old.part(&part.id)?.options;
        let differs = *before != part.options && only_policy(before, &part.options);
        differs.then(|| {
            (
                part.id.clone(),
                whole_policy(before, &part.options, history),
            )
        })
    });
    parts.collect()
}

fn add(part: &Part) -> Action {
    Action::Add {
        id: part.id.clone(),
        options: part.options.clone(),
    }
}

/// What is at an id that goes: its port, path and device are free for others from that moment.
fn let_go(part: &Part) -> Action {
    Action::Change {
        id: part.id.clone(),
        options: Options::new("null"),
    }
}

fn change(
    old: &Item,
    part: &Part,
    exists: &dyn Fn(&str) -> bool,
    history: usize,
) -> Option<Action> {
    let before = old.part(&part.id).map(|part| &part.options);
    if !exists(&part.id) {
        return Some(add(part));
    }
    let Some(before) = before else {
        return Some(add(part));
    };
    if *before == part.options || only_policy(before, &part.options) {
        return None;
    }
    let mut options = whole_policy(before, &part.options, history);
    if before.get("logfile").is_some() && options.get("logfile").is_none() {
        // Without another log a chardev keeps the one it has.
        options.set("logfile", OptionValue::Str("/dev/null".to_owned()));
    }
    let apart = |options: &Options| without(options, |_| true);
    if options.kind() == "socket" && apart(before) == apart(&part.options) {
        options.set("x-handover", OptionValue::Bool(true));
    }
    Some(Action::Change {
        id: part.id.clone(),
        options,
    })
}

/// Whether two differ in nothing but their policy.
fn only_policy(one: &Options, other: &Options) -> bool {
    let apart = |options: &Options| {
        without(options, |name| {
            COMMON_OPTIONS
                .iter()
                .any(|option| option.name == name && option.policy.is_some())
        })
    };
    apart(one) == apart(other)
}

/// The same without those of the options of all chardevs that `is_out` names.
fn without(options: &Options, is_out: impl Fn(&str) -> bool) -> Options {
    let mut rest = options.clone();
    for option in COMMON_OPTIONS.iter().filter(|option| is_out(option.name)) {
        rest.unset(option.name);
    }
    rest
}

/// The options with the defaults of what of the policy is said no more: a change keeps what it
/// does not name.
fn whole_policy(before: &Options, options: &Options, history: usize) -> Options {
    let mut whole = options.clone();
    let text = |text: &str| OptionValue::Str(text.to_owned());
    for (name, default) in [
        ("x-closed", text("discard")),
        ("x-log-full", text("hole")),
        (
            "x-history",
            OptionValue::Int(history.try_into().unwrap_or(i64::MAX)),
        ),
        ("x-drain-ms", OptionValue::Int(30_000)),
    ] {
        if before.get(name).is_some() && whole.get(name).is_none() {
            whole.set(name, default);
        }
    }
    whole
}

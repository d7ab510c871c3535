//! The options that a chardev is known by, through changes of its back end and of its policy.

use std::time::Duration;

use chardev_core::spec::{OptionValue, Options};
use chardev_core::{Change, ChardevRef, Closed, LogFull, NewBackend, Old, PolicyChange};

use crate::rig::Peer;

/// `KIND name=value …`; a number where it looks like one.
fn options(text: &str) -> Options {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap();
    let kinds = ["null", "pty", "file"];
    let mut options = Options::new(kinds.into_iter().find(|known| *known == kind).unwrap());
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        let names = [
            "path",
            "logfile",
            "logappend",
            "x-logsize",
            "x-closed",
            "x-history",
        ];
        let names = names
            .into_iter()
            .chain(["x-drain-ms", "x-log-full", "x-handover"]);
        let name = names.into_iter().find(|known| *known == name).unwrap();
        let value = match (value, value.parse()) {
            ("on", _) => OptionValue::Bool(true),
            (_, Ok(number)) => OptionValue::Int(number),
            (text, Err(_)) => OptionValue::Str(text.to_owned()),
        };
        options.set(name, value);
    }
    options
}

fn change(chardev: &ChardevRef, id: u64, to: Option<&str>, old: Old) {
    let mut new: NewBackend = Peer::new(true, 99).as_new(id);
    new.options = to.map(|text| Box::new(options(text)));
    let change = Change::begin(chardev).unwrap();
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, old).unwrap();
}

fn made_of(text: &str) -> ChardevRef {
    let chardev = Peer::new(true, 99).chardev(None);
    chardev.with(|chardev| chardev.set_options(options(text)));
    chardev
}

#[track_caller]
fn check(chardev: &ChardevRef, expected: &str) {
    let kept = chardev.with(|chardev| chardev.options().cloned());
    assert_eq!(kept, Some(options(expected)));
}

#[test]
fn a_change_keeps_what_belongs_to_the_chardev() {
    for (made_of_text, changed_to, expected) in [
        ("pty path=/l", "null", "null"),
        ("null", "pty path=/l", "pty path=/l"),
        (
            "null logfile=/a x-logsize=9",
            "pty path=/l",
            "pty path=/l logfile=/a x-logsize=9",
        ),
        (
            "null logfile=/a x-logsize=9 logappend=on",
            "pty logfile=/b",
            "pty logfile=/b",
        ),
        // Without a log of its own it says nothing about one.
        ("null logfile=/a", "pty x-logsize=9", "pty logfile=/a"),
        ("null", "pty x-logsize=9", "pty"),
        (
            "null x-closed=hold x-drain-ms=7",
            "pty x-closed=discard",
            "pty x-closed=discard x-drain-ms=7",
        ),
        ("null x-handover=on", "pty", "pty"),
        ("null", "pty x-handover=on", "pty"),
    ] {
        let chardev = made_of(made_of_text);
        change(&chardev, 2, Some(changed_to), Old::Retire);
        check(&chardev, expected);
    }
}

#[test]
fn a_change_of_the_policy_is_kept_and_outlives_one_of_the_back_end() {
    let chardev = made_of("null x-closed=discard");
    let policy = PolicyChange {
        closed: Some(Closed::History),
        history: Some(4096),
        drain: Some(Duration::from_millis(1500)),
        log_full: Some(LogFull::Hold),
    };
    chardev.with(|chardev| chardev.set_policy(policy));
    let set = "x-closed=history x-history=4096 x-drain-ms=1500 x-log-full=hold";
    check(&chardev, &format!("null {set}"));
    change(&chardev, 2, Some("file path=/f"), Old::Retire);
    check(&chardev, &format!("file path=/f {set}"));
    for (closed, word) in [(Closed::Discard, "discard"), (Closed::Hold, "hold")] {
        let policy = PolicyChange {
            closed: Some(closed),
            log_full: Some(LogFull::Hole),
            ..PolicyChange::default()
        };
        chardev.with(|chardev| chardev.set_policy(policy));
        let set = set.replace("closed=history", &format!("closed={word}"));
        check(
            &chardev,
            &format!("file path=/f {}", set.replace("full=hold", "full=hole")),
        );
    }
}

#[test]
fn what_is_set_aside_is_what_the_chardev_is_made_of() {
    let chardev = made_of("pty path=/l");
    change(&chardev, 2, Some("null"), Old::Park);
    check(&chardev, "pty path=/l");
    change(&chardev, 3, Some("file path=/f"), Old::Retire);
    check(&chardev, "file path=/f");
    // Nobody has said what this one was opened with.
    change(&chardev, 4, None, Old::Retire);
    assert!(chardev.with(|chardev| chardev.options().is_none()));
}

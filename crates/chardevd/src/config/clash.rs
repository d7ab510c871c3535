//! Two of a configuration that want the same thing, of which one would fail.

use std::collections::HashMap;

use chardev::spec::{Options, SocketAddress};

use super::errors::{Mistakes, Place};
use super::item::{Part, Wanted};

/// Finds ids, listeners, devices and logs that two want.
pub(super) fn find(wanted: &Wanted, mistakes: &mut Mistakes) {
    let mut owners: HashMap<String, (String, Place)> = HashMap::new();
    let mut claim = |what: String, who: &str, place: &Place| {
        let Some((other, there)) = owners.get(&what) else {
            owners.insert(what, (who.to_owned(), place.clone()));
            return;
        };
        let hint = format!("{other} has it, at {there}");
        mistakes.add_hint(place, format!("{who}: {what} is taken"), hint);
    };
    for item in &wanted.items {
        let who = item.title();
        for Part { id, options } in &item.chardevs {
            claim(format!("the chardev id '{id}'"), &who, &item.place);
            for thing in exclusive(options) {
                claim(thing, &who, &item.place);
            }
        }
    }
    for (monitor, options) in
        (wanted.monitors.iter()).filter_map(|it| Some((it, it.options.as_ref()?)))
    {
        claim(
            format!("the chardev id '{}'", monitor.chardev),
            "monitor",
            &monitor.place,
        );
        for thing in exclusive(options) {
            claim(thing, "monitor", &monitor.place);
        }
    }
}

/// What only one can have.
fn exclusive(options: &Options) -> Vec<String> {
    let mut things = Vec::new();
    let address = options
        .address("addr")
        .filter(|_| options.bool_or("server", false));
    match address {
        Some(SocketAddress::Unix { path, .. }) => things.push(format!("the socket {path}")),
        Some(SocketAddress::Inet(inet)) if inet.port != "0" && inet.to.is_none() => {
            things.push(format!("port {} on '{}'", inet.port, inet.host));
        }
        _ => {}
    }
    if options.kind() == "serial" {
        things.extend(
            options
                .str("device")
                .map(|path| format!("the device {path}")),
        );
    }
    let log = options.str("logfile").filter(|path| *path != "/dev/null");
    things.extend(log.map(|path| format!("the log {path}")));
    things
}

//! `chardevctl events --fleet`: what happens on all hosts, as it happens.

use std::io::{self, Write as _};
use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::events::Heard;
use chardev_fleet::{Blind, Happening};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Event;
use tokio::sync::mpsc::channel;

use super::Options;
use super::output::{spawn, wait_for_leave};
use super::way::{Way, failure};
use crate::ctl::commands::print_bytes;
use crate::ctl::events::{Args, line, object};
use crate::ctl::failure::Failure;

/// How many events wait for whoever reads what we print. More wait for us, up to a bound, and
/// what there is no room for is missed, which the events' numbers tell.
const QUEUE: usize = 1024;

/// What happens while one listens.
enum News {
    Happening(Happening),
    /// Nobody reads what we print any more.
    Left,
    Done(Result<(), Blind>),
}

/// Prints what happens, until nobody reads it.
pub(in crate::ctl) fn events(
    options: &Options,
    timeout: Option<Duration>,
    args: &Args,
) -> Result<(), Failure> {
    let Way { runtime, look } = Way::open(options, timeout)?;
    let (sender, mut news) = channel(QUEUE);
    let left = sender.clone();
    let hosts = hosts(&args.id);
    let listening = move || {
        runtime.block_on(async {
            let each = async |it| sender.send(News::Happening(it)).await.is_ok();
            let done = look.listen(&hosts, each).await;
            // It fails where nobody reads any more.
            let _ = sender.send(News::Done(done)).await;
        });
        runtime.shutdown_background();
    };
    spawn("fleet", listening)?;
    spawn("reader", move || wait_for_leave(&left, News::Left))?;
    while let Some(news) = news.blocking_recv() {
        match news {
            News::Happening(Happening::Event(heard)) => {
                if !print_bytes(text(&heard, args).as_bytes())? {
                    break;
                }
            }
            News::Happening(Happening::Lost) => say(
                "the connection to the servers is lost; what happens until it is back is missing",
            ),
            News::Happening(Happening::Back) => say("the servers are connected to again"),
            News::Left => break,
            News::Done(done) => return done.map_err(|blind| failure(&blind)),
        }
    }
    Ok(())
}

/// The hosts that these may be, or be consoles of: both may hold a slash.
fn hosts(ids: &[String]) -> Vec<String> {
    let mut hosts = ids.to_vec();
    for id in ids {
        let slashes = id.match_indices('/');
        hosts.extend(slashes.map(|(at, _)| id[..at].to_owned()));
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

/// What is printed of an event, and said of those that were missed before it.
fn text(heard: &Heard, args: &Args) -> String {
    if heard.missed > 0 {
        let (count, host) = (heard.missed, shown(&heard.host));
        say(&format!("{count} events of host '{host}' were missed"));
    }
    let place = match &heard.console {
        Some(console) => format!("{}/{console}", heard.host),
        None => heard.host.clone(),
    };
    let is_wanted = args.id.is_empty() || args.id.contains(&place) || args.id.contains(&heard.host);
    let parsed = Json::parse(&heard.text).ok();
    let event = parsed.as_ref().and_then(Event::read);
    let Some(event) = event.filter(|_| is_wanted) else {
        return String::new();
    };
    if args.json {
        let mut all = Object::new().with("host", heard.host.as_str());
        if let Some(console) = &heard.console {
            all.insert("console", console.as_str());
        }
        for (name, value) in object(&event).iter() {
            all.insert(name.to_owned(), value.clone());
        }
        return format!("{}\n", Json::Object(all));
    }
    line(&event, &place)
}

/// Says it on standard error; who cannot hear it still gets what there is.
fn say(words: &str) {
    let _ = writeln!(io::stderr(), "chardevctl: {words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(console: Option<&str>, text: &str) -> Heard {
        Heard {
            host: "a/b".to_owned(),
            console: console.map(str::to_owned),
            missed: 0,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_event_is_printed_with_its_place_if_that_is_wanted() {
        let said = "{\"timestamp\": {\"seconds\": 951782400, \"microseconds\": 5000}, \
                    \"event\": \"X_CHARDEV_CHANGED\", \"data\": {\"id\": \"c\", \"kind\": \"pty\"}}";
        let args = |ids: &[&str], json| Args {
            id: ids.iter().map(|it| (*it).to_owned()).collect(),
            json,
        };
        let line = "2000-02-29T00:00:00.005Z chardev-changed a/b/c kind=pty\n";
        for (ids, printed) in [
            (&[][..], line),
            (&["a/b"], line),
            (&["x", "a/b/c"], line),
            (&["a"], ""),
            (&["a/b/d"], ""),
        ] {
            assert_eq!(text(&heard(Some("c"), said), &args(ids, false)), printed);
        }
        let json = text(&heard(Some("c"), said), &args(&[], true));
        assert!(
            json.starts_with("{\"host\": \"a/b\", \"console\": \"c\", \"event\": "),
            "{json}"
        );
        for odd in ["", "{}", "x", "{\"event\": 7}"] {
            assert_eq!(text(&heard(None, odd), &args(&[], false)), "");
        }
        assert_eq!(
            text(
                &heard(None, "{\"event\": \"\\u001b[H\"}"),
                &args(&[], false)
            ),
            "1970-01-01T00:00:00.000Z \\x1b[h a/b\n"
        );
        assert_eq!(
            hosts(&["a/b/c".to_owned(), "a".to_owned()]),
            ["a", "a/b", "a/b/c"]
        );
    }
}

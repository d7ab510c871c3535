//! ser2net.yaml: its connections.

use std::collections::HashMap;

use super::gensio::{LINE, gensios, is, line, to};
use super::output::{Console, Output, inline, quoted};
use super::yaml::{Content, Node, parse};

/// Reads `text`.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read(text: &str, output: &mut Output) -> Result<(), String> {
    output.note(
        "ser2net opens a device when somebody connects; here it is open all the time, and what \
         comes while nobody is there is discarded, unless policy = { x-closed = \"history\" }.",
    );
    let all = match parse(text)?.content {
        Content::Map(all) => all,
        Content::Text(text) if text.is_empty() => Vec::new(),
        _ => return Err("it has no keys of ser2net's, such as 'connection:'".to_owned()),
    };
    let mut file = File::default();
    // A device goes to the first that wants it.
    let mut taken: HashMap<String, String> = HashMap::new();
    for (key, node) in &all {
        let name = node.anchor.clone().unwrap_or_default();
        match key.as_str() {
            "define" => {
                let text = file.filled(&node.text());
                file.defined.insert(name, text);
            }
            "default" => {
                let text = |key| node.get(key).map(Node::text).unwrap_or_default();
                file.defaults.insert(text("name"), text("value"));
            }
            "connection" => {
                let (mut console, device) = file.connection(&name, node);
                if let Some(device) = device.filter(|_| !console.says("enabled")) {
                    match taken.get(&device) {
                        Some(other) => {
                            console.note(format!("its device is that of {other}, which has it"));
                            console.set_raw("enabled", "false");
                        }
                        None => _ = taken.insert(device, name.clone()),
                    }
                }
                output.add(console);
            }
            other => {
                let why = match other {
                    "rotator" => "a connection has one console here",
                    "led" => "there are no LEDs",
                    "admin" => "'chardevctl' is for that, over the monitor",
                    "include" => "import that file, too, and put it into conf.d",
                    _ => "there is no such thing here",
                };
                let what = format!("{other} {name} {}", node.text());
                output.note(format!("Left out: {}: {why}.", what.trim_end()));
            }
        }
    }
    Ok(())
}

/// What the whole file says.
#[derive(Debug, Default)]
struct File {
    defined: HashMap<String, String>,
    defaults: HashMap<String, String>,
}

impl File {
    /// `text` with `*(name)` as it was defined.
    fn filled(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("*(") {
            filled.push_str(before);
            let (name, after) = from.split_once(')').unwrap_or((from, ""));
            match self.defined.get(name) {
                Some(value) => filled.push_str(value),
                None => filled.push_str(&format!("*({name})")),
            }
            rest = after;
        }
        filled + rest
    }

    /// A connection as a console, and the device that it wants for itself.
    fn connection(&self, name: &str, node: &Node) -> (Console, Option<String>) {
        let mut console = Console::new(name);
        let text = |key: &str| node.get(key).map(|node| self.filled(&node.text()));
        let accepter = text("accepter").unwrap_or_default();
        let connector = text("connector").unwrap_or_default();
        let device = self.source(&mut console, &gensios(&connector));
        let device = device.unwrap_or_else(|why| {
            console.note(format!("connector {connector}: {why}"));
            console.set_raw("enabled", "false");
            None
        });
        match to(&gensios(&accepter)) {
            Ok(line) => console.set("to", &line),
            Err(why) => {
                console.note(format!(
                    "accepter {accepter}: {why}; it is reached by 'chardevctl attach'"
                ));
            }
        }
        if matches!(text("enable").as_deref(), Some("off" | "false" | "no")) {
            console.set_raw("enabled", "false");
        }
        if let Some(timeout) = text("timeout").filter(|timeout| timeout != "0") {
            console.note(format!(
                "timeout {timeout}: nobody is sent away for being silent"
            ));
        }
        let options = node.get("options").map(|options| &options.content);
        if let Some(Content::Map(options)) = options {
            for (option, value) in options {
                self.option(&mut console, option, &value.text());
            }
        }
        (console, device)
    }

    fn option(&self, console: &mut Console, option: &str, value: &str) {
        let off = ["false", "off", "no", "0"].contains(&value);
        let why = match option {
            "trace-read" if !value.contains('\\') => {
                return console.set("log", &self.filled(value));
            }
            "trace-read" | "trace-write" | "trace-both" => {
                "a log holds the output of a console, in a file of one name"
            }
            "banner" | "openstr" | "closestr" | "signature" => "nothing is said by itself",
            "kickolduser" if !off => "who comes second waits until the first has left",
            "max-connections" if value != "1" => {
                "one at a time; others watch with 'chardevctl watch', or 'to' is a hub"
            }
            "telnet-brk-on-sync" if !off => "telnet's BREAK is a break, its SYNC is not",
            "remaddr" => "a socket takes whoever reaches it; let it listen on one address",
            _ if off || ["max-connections", "chardelay"].contains(&option) => return,
            _ => "there is no such thing here",
        };
        console.note(format!("{option} {value}: {why}"));
    }

    /// What is at the far side; returns the device that nobody else can have.
    fn source(
        &self,
        console: &mut Console,
        gensios: &[String],
    ) -> Result<Option<String>, &'static str> {
        let telnet = gensios.first().is_some_and(|first| is(first, "telnet"));
        let rest = &gensios[usize::from(telnet)..];
        let mut words = rest.iter().map(String::as_str);
        match words.next().unwrap_or_default() {
            word if is(word, "serialdev") && !telnet => {
                let device = words.next().unwrap_or_default();
                let speed = self.defaults.get("speed").map(String::as_str);
                let mut line = line(speed.unwrap_or("9600N81"));
                for word in words {
                    self.line_word(console, word, &mut line);
                }
                line.insert(0, ("path", quoted(device)));
                console.set_raw("serial", inline(&line));
                Ok(Some(device.to_owned()))
            }
            word if is(word, "tcp") => {
                let (host, port) = match (words.next(), words.next()) {
                    (Some(host), Some(port)) => (host, port),
                    (Some(port), None) => ("localhost", port),
                    _ => return Err("it has no port"),
                };
                let mut entries = vec![("host", quoted(host)), ("port", quoted(port))];
                if telnet {
                    entries.push(("telnet", "true".to_owned()));
                }
                console.set_raw("socket", inline(&entries));
                Ok(None)
            }
            word if is(word, "unix") && !telnet => {
                let path = words.next().unwrap_or_default();
                console.set_raw("socket", inline(&[("path", quoted(path))]));
                Ok(None)
            }
            word if (is(word, "pty") || is(word, "stdio")) && !telnet => {
                let command: Vec<&str> = words.collect();
                if command.is_empty() {
                    return Err("it has no program");
                }
                console.set("exec", &command.join(","));
                Ok(None)
            }
            word if is(word, "ipmisol") => Err("there is no IPMI; run ipmitool sol as a program"),
            _ => Err("there is nothing like it here"),
        }
    }

    fn line_word(&self, console: &mut Console, word: &str, entries: &mut Vec<(&str, String)>) {
        let (name, value) = word.split_once('=').unwrap_or((word, "true"));
        let on = !["false", "off", "no"].contains(&value);
        match name.to_ascii_lowercase().as_str() {
            "local" | "nobreak" | "-nobreak" => {}
            flow @ ("xonxoff" | "rtscts") if on => entries.push(("x-flow", quoted(flow))),
            "-xonxoff" | "-rtscts" | "xonxoff" | "rtscts" => {}
            name if name.starts_with(|c: char| c.is_ascii_digit()) => {
                entries.retain(|(key, _)| !LINE.contains(key));
                entries.extend(line(name));
            }
            _ => console.note(format!("{word}: a serial device has no such option here")),
        }
    }
}

//! From bytes to what a client may say, most of it well formed.
//!
//! Requests are made from `query-qmp-schema`, so every command and every member there is, is used;
//! a byte chooses whether an optional member is there and which value it has.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use chardev::spec::{KindSpec, OptionType};
use chardev_qapi::Json;

use super::world::world;

/// How deep values are nested.
const DEEP: usize = 8;

const IDS: &[&str] = &["a", "b", "c", "a", "b", "d"];
const PATHS: &[&str] = &[
    "x",
    "y",
    "sock",
    "log",
    "fifo",
    "pair",
    "tty",
    "text",
    "dir",
    "/dev/fdset/0",
    "/dev/fdset/1",
    "/dev/full",
    "/dev/null",
    "x.1",
    "none/x",
    "",
];
const FDS: &[&str] = &["f", "g", "s", "p", "l", "w", "0", ""];
const TEXTS: &[&str] = &[
    "AAE=",
    "hello",
    "\\u0000",
    "\\u00e9x",
    "",
    "\\ud83d\\ude00",
    "1",
    "==",
];
const HOSTS: &[&str] = &["127.0.0.1", "localhost", "::1", ""];
const PORTS: &[&str] = &["0", "12345", "http", "70000", "-1", ""];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "64",
    "65536",
    "3",
    "-1",
    "2",
    "4096",
    "100",
    "1000000",
    "9223372036854775807",
    "7",
    "-64",
    "18446744073709551615",
    "1.5",
    "256",
];
/// What is of the wrong type nearly everywhere.
const WRONG: &[&str] = &[
    "null",
    "[]",
    "{}",
    "1e3",
    "'x'",
    "[[[[[]]]]]",
    "true",
    "{'type':'null'}",
];
/// Commands for people, with `I` for an id, `B` for a back end and `N` for a number.
const LINES: &[&str] = &[
    "chardev-add B,id=I",
    "chardev-change I B",
    "chardev-remove I",
    "chardev-send-break I",
    "info chardev",
    "ringbuf_write I hello",
    "ringbuf_read I N",
    "ringbuf_read I (1+N)*3",
    "help",
    "help chardev-add",
    "info",
    "info history",
    "info version",
    "quit",
    "stop",
    "cont",
    "chardev-add B,id=I,mux=on",
    "info status",
    "closefd f",
    "getfd f",
    "ringbuf_write I \"a\\n\\\"b",
    "chardev-change I B,mux=on",
];

/// Bytes that choose; zeros when there are no more.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn next(&mut self) -> usize {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(first)
    }

    pub(super) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.next() % list.len()].clone()
    }

    /// The next bytes themselves.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A request for one of all commands.
pub(super) fn request(choices: &mut Choices<'_>) -> String {
    let names = types().iter();
    let names = names.filter(|(_, entry)| text(entry, "meta-type") == "command");
    let names: Vec<_> = names.map(|(name, _)| name.as_str()).collect();
    let name = choices.pick(&names);
    request_for(name, choices)
}

/// A request for a command of somebody who moves a mouse or presses keys.
pub(super) fn touch(choices: &mut Choices<'_>) -> String {
    let name = choices.pick(&["input-send-event", "input-send-event", "send-key"]);
    request_for(name, choices)
}

/// A request for a command that makes, replaces or removes back ends.
pub(super) fn change(choices: &mut Choices<'_>) -> String {
    let names = [
        "chardev-add",
        "chardev-change",
        "chardev-add",
        "x-chardev-transaction",
    ];
    let name = choices.pick(&names);
    request_for(name, choices)
}

fn request_for(name: &str, choices: &mut Choices<'_>) -> String {
    let how = choices.next();
    let execute = if how & 7 == 7 { "exec-oob" } else { "execute" };
    let id = if how & 8 == 8 {
        ",'id':[1,{'x':null}]"
    } else {
        ""
    };
    let types = types();
    let arguments = text(&types[name], "arg-type");
    let arguments = value(types, arguments, "", choices, 0);
    format!("{{'{execute}':'{name}','arguments':{arguments}{id}}}\n")
}

type Types = BTreeMap<String, Json>;

fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| {
        let entries = world().schema.as_array().expect("a list").iter();
        let entries = entries.map(|entry| (text(entry, "name").to_owned(), entry.clone()));
        entries.collect()
    })
}

/// A value of type `ty` for the member called `name`.
fn value(types: &Types, ty: &str, name: &str, choices: &mut Choices<'_>, depth: usize) -> String {
    let entry = &types[ty];
    match text(entry, "meta-type") {
        "object" => object(types, entry, choices, depth),
        "array" => {
            let element = text(entry, "element-type");
            let count = if depth < DEEP { choices.next() % 4 } else { 0 };
            let all = (0..count).map(|_| value(types, element, name, choices, depth + 1));
            format!("[{}]", all.collect::<Vec<_>>().join(","))
        }
        "enum" => {
            let words = list(entry, "values");
            format!("'{}'", choices.pick(words).as_str().unwrap_or_default())
        }
        _ => scalar(text(entry, "json-type"), name, choices),
    }
}

fn object(types: &Types, entry: &Json, choices: &mut Choices<'_>, depth: usize) -> String {
    let mut members: Vec<(&str, String)> = Vec::new();
    for given in list(entry, "members") {
        members.extend(member(types, given, choices, depth));
    }
    let tag = text(entry, "tag");
    let case = members.iter().find(|(name, _)| *name == tag);
    let case = case.map_or("", |(_, word)| word.trim_matches('\''));
    let mut variants = list(entry, "variants").iter();
    // What a variant has stands beside the tag.
    if let Some(variant) = variants.find(|variant| text(variant, "case") == case) {
        for given in list(&types[text(variant, "type")], "members") {
            members.extend(member(types, given, choices, depth));
        }
    }
    if choices.next() == 0xed {
        members.push(("unknown", "1".to_owned()));
    }
    let members = members
        .iter()
        .map(|(name, given)| format!("'{name}':{given}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// A member's name and value. What may be left out mostly is; what may not rarely is.
fn member<'a>(
    types: &Types,
    member: &'a Json,
    choices: &mut Choices<'_>,
    depth: usize,
) -> Option<(&'a str, String)> {
    let name = text(member, "name");
    let is_optional = member.get("default").is_some();
    let given = match choices.next() {
        odd if is_optional && odd & 3 != 3 => return None,
        0xee if !is_optional => return None,
        0xef => choices.pick(WRONG).to_owned(),
        _ => value(types, text(member, "type"), name, choices, depth + 1),
    };
    Some((name, given))
}

fn scalar(json_type: &str, name: &str, choices: &mut Choices<'_>) -> String {
    match json_type {
        "string" => {
            let text = match name {
                "command-line" => return Json::from(line(choices)).to_string(),
                _ => string(name, choices),
            };
            format!("'{text}'")
        }
        "int" | "number" => choices.pick(NUMBERS).to_owned(),
        "boolean" => ["true", "false"][choices.next() & 1].to_owned(),
        _ => choices.pick(WRONG).to_owned(),
    }
}

/// Text for a member or an option, by its name.
fn string(name: &str, choices: &mut Choices<'_>) -> &'static str {
    let list = match name {
        "id" | "chardev" | "chardevs" | "protocol" | "x-device" => IDS,
        "tls-creds" | "tls-authz" => IDS,
        // A chardev for the ring buffers, a path for the back ends.
        "device" if choices.next() & 1 == 0 => IDS,
        "out" | "in" | "path" | "device" | "logfile" | "x-logindex" => PATHS,
        "filename" | "dir" => PATHS,
        "fdname" | "str" | "fd" => FDS,
        "host" => HOSTS,
        "port" => PORTS,
        _ => TEXTS,
    };
    choices.pick(list)
}

/// A line for the human monitor.
pub(super) fn line(choices: &mut Choices<'_>) -> String {
    let mut line = String::new();
    for c in choices.pick(LINES).chars() {
        match c {
            'I' => line.push_str(string("id", choices)),
            'N' => line.push_str(choices.pick(NUMBERS)),
            'B' => line.push_str(&backend_line(choices)),
            c => line.push(c),
        }
    }
    line
}

/// A back end as the command line spells it.
fn backend_line(choices: &mut Choices<'_>) -> String {
    let kinds = chardev::back::specs();
    let kind: &KindSpec = choices.pick(&kinds);
    let mut words = vec![kind.name.to_owned()];
    for option in kind.all_options() {
        let odd = choices.next();
        if odd & 3 != 3 && !option.required {
            continue;
        }
        let key = option.cli;
        match option.ty {
            OptionType::Bool => words.push(format!(
                "{key}={}",
                choices.pick(&["on", "off", "yes", "n"])
            )),
            OptionType::Int | OptionType::Size => {
                words.push(format!(
                    "{key}={}",
                    choices.pick(&["1", "64", "4k", "1M", "0", "-1", "x"])
                ));
            }
            OptionType::Enum(all) => words.push(format!("{key}={}", choices.pick(all))),
            OptionType::Str => words.push(format!("{key}={}", string(option.name, choices))),
            OptionType::StrList => {
                words.push(format!("{key}.0={},{key}.1=b", string("chardevs", choices)))
            }
            OptionType::Address => words.push(choices.pick(&ADDRESSES).to_owned()),
        }
    }
    words.join(",")
}

const ADDRESSES: [&str; 8] = [
    "path=sock",
    "host=127.0.0.1,port=0",
    "path=x,abstract=on",
    "fd=f",
    "port=1",
    "path=sock,server=on,wait=off",
    "host=::1,port=0,server=on,wait=off",
    "localaddr=127.0.0.1,localport=1,port=2",
];

fn text<'a>(value: &'a Json, name: &str) -> &'a str {
    value.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Json, name: &str) -> &'a [Json] {
    value.get(name).and_then(Json::as_array).unwrap_or_default()
}

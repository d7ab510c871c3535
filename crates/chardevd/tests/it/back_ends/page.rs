//! The text of docs/back-ends.md.

use std::fmt::Write as _;

use chardev::spec::{COMMON_OPTIONS, KindSpec, LineRule, OptionSpec, OptionType, Short};

use super::lists::{ABSENT, NOTES, SHORT, address_keys};

const HEAD: &str = "\
# Back ends

<!-- `cargo xtask back-ends` makes this file of the tables of the kinds; a test compares them. -->

Every kind of back end and every option, as `chardevd` has them. The same tables are behind `--chardev help`,
`--chardev KIND,help`, the schema and the parsers. What is different from QEMU is in
[qemu-differences.md](qemu-differences.md); names with `x-` are ours.

On the command line an option is `KEY=VALUE`, and a comma inside a value is doubled; in QMP it is a member of
`backend.data`:

    --chardev ringbuf,id=con0,size=64k
    {\"execute\": \"chardev-add\", \"arguments\": {\"id\": \"con0\", \"backend\": {\"type\": \"ringbuf\", \"data\": {\"size\": 65536}}}}

| value | command line | QMP |
| --- | --- | --- |
| switch | `on`, `off` | `true`, `false` |
| number | `30` | `30` |
| size | `65536`, `64k`, `1M` | `65536` |
| text, word | as it is | a string |
| list | `KEY.0=…`, `KEY.1=…`, up to `KEY.3=…` | an array of strings, of any length |
| address | its parts, see the kind | `{\"type\": TYPE, \"data\": {MEMBER: …}}` |

An option that stands in the column for QMP is spelled otherwise there. The short spellings are those of `--serial`,
`--monitor` and `--qmp`.
";

/// The whole of the file.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for kind in chardevd::kinds::specs() {
        page += &section(kind);
    }
    page += "\n## Options of all chardevs\n\n\
             Beside these, the command line has `id=ID`, the chardev's name, and `mux=on`, which puts a `mux` called\n\
             `ID` over the back end, which is then `ID-base`. An option marked with * can also be set while the\n\
             chardev runs (`x-chardev-set`).\n\n";
    page += &table(COMMON_OPTIONS, "");
    page += &absent();
    page
}

fn section(kind: &KindSpec) -> String {
    let mut text = format!("\n## {}\n\n{}.\n", kind.name, sentence(kind.summary));
    let short = short_spellings(kind);
    if !short.is_empty() {
        let _ = writeln!(text, "\nShort: {}", short.join(", "));
    }
    if kind.options.is_empty() {
        text += "\nNo options of its own.\n";
        return text;
    }
    let _ = write!(text, "\n{}", table(kind.options, kind.name));
    for rule in kind.line {
        if let LineRule::Inverse { key, option } = rule {
            let _ = writeln!(
                text,
                "| `{key}` | – | switch | the opposite of `{option}` |"
            );
        }
    }
    for (_, note) in NOTES.iter().filter(|(name, _)| *name == kind.name) {
        let _ = write!(text, "\n{note}");
    }
    text
}

/// A sentence begins with a capital, unless it begins with a name.
fn sentence(summary: &str) -> String {
    let mut chars = escaped(summary).chars().collect::<Vec<_>>();
    if let Some(first) = chars.first_mut() {
        first.make_ascii_uppercase();
    }
    chars.into_iter().collect()
}

fn short_spellings(kind: &KindSpec) -> Vec<String> {
    let name = kind.name;
    let all = kind.short.iter().flat_map(|short| match short {
        Short::Name => vec![name.to_owned()],
        Short::Path => vec![format!("{name}:PATH")],
        Short::Shared(_) => vec![format!("mon:{name}")],
        Short::Text(_) => {
            let examples = SHORT.iter().filter(|(known, _)| *known == name);
            let examples = examples.flat_map(|(_, examples)| *examples);
            examples.map(|text| (*text).to_owned()).collect()
        }
    });
    all.map(|text| format!("`{text}`")).collect()
}

fn table(options: &[OptionSpec], kind: &str) -> String {
    let mut text = "| command line | QMP | value | |\n| --- | --- | --- | --- |\n".to_owned();
    for option in options {
        text += &row(option);
        if option.ty == OptionType::Address {
            text += &address_rows(option, kind);
        }
    }
    text
}

fn row(option: &OptionSpec) -> String {
    let line = match (option.ty, option.cli) {
        (_, "") => "–".to_owned(),
        (OptionType::StrList, key) => format!("`{key}.0` …"),
        (_, key) => format!("`{key}`"),
    };
    let mark = if option.policy.is_some() { " *" } else { "" };
    let qmp = match option.cli == option.name && option.ty != OptionType::StrList {
        true => String::new(),
        false => format!("`{}`", option.name),
    };
    let required = if option.required { ", required" } else { "" };
    format!(
        "| {line}{mark} | {qmp} | {}{required} | {} |\n",
        value(option.ty),
        escaped(option.help)
    )
}

/// What an address is made of on the command line.
fn address_rows(option: &OptionSpec, kind: &str) -> String {
    let mut text = String::new();
    for part in address_keys(kind) {
        let [of, ty, member] = part.place;
        if of == option.name {
            let (value, help) = (value(part.ty), part.help);
            let _ = writeln!(
                text,
                "| `{}` | `{of}`: `{ty}`: `{member}` | {value} | {help} |",
                part.key
            );
        }
    }
    text
}

fn value(ty: OptionType) -> String {
    match ty {
        OptionType::Bool => "switch".to_owned(),
        OptionType::Int => "number".to_owned(),
        OptionType::Size => "size".to_owned(),
        OptionType::Str => "text".to_owned(),
        OptionType::Enum(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        OptionType::Address => "address".to_owned(),
        OptionType::StrList => "list".to_owned(),
    }
}

/// What looks like HTML would be it, and a bar would end the cell.
fn escaped(text: &str) -> String {
    text.replace('<', "\\<").replace('|', "\\|")
}

fn absent() -> String {
    let mut text = format!(
        "\n## QEMU's kinds that are not in this build\n\n\
         They are answered as by a QEMU built without them. On the command line and in the monitor for people:\n\n    \
         {}\n\nIn QMP, and they are neither in the schema nor in `query-chardev-backends`:\n\n    {}\n\n\
         | kind | what it is | instead |\n| --- | --- | --- |\n",
        refused_on_a_line("KIND"),
        refused_by_qmp("KIND"),
    );
    for kind in ABSENT {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            kind.name, kind.why, kind.instead
        );
    }
    text +=
        "\nOf old names `memory`, for `ringbuf`, is the one that QEMU still has; it is above.\n";
    text
}

pub(super) fn refused_on_a_line(kind: &str) -> String {
    format!("'{kind}' is not a valid char driver name")
}

pub(super) fn refused_by_qmp(kind: &str) -> String {
    format!("Parameter 'type' does not accept value '{kind}'")
}

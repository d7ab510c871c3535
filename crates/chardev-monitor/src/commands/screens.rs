//! Consoles' screens and keys: `screendump`, `send-key` and `x-screen`.

use chardev::screen::{Color, Run, Size, Snapshot};
use chardev::text::to_path;
use chardev::{InputError, InputEvent, PictureFormat, ScreenError, ShownScreen};
use chardev_qapi::schema::{Member, ObjectType, Type, optional, required};
use chardev_qapi::spec::{Expected, ParameterError};
use chardev_qapi::{ErrorKind, Json, KEY_NAMES, Object, QmpError, name_of_scancode};

use crate::access::Role;
use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};
use crate::stats::with_epoch;

/// The most keys of one command: a console has room for no more of them.
const MOST_KEYS: usize = 4096;

/// The commands of this file.
pub(super) fn commands() -> [OwnCommand; 3] {
    let screendump = OwnCommand::waiting("screendump", screendump)
        .takes([
            required("filename", Type::Str),
            optional("device", Type::Str),
            optional("head", Type::Int),
            optional("format", Type::words(&["ppm", "png"])),
        ])
        .returns(Type::object([]));
    let send_key = OwnCommand::new("send-key", send_key)
        .open_to(Role::Attach, "x-device")
        .takes([
            required("keys", Type::list(Type::Object(key()))),
            optional("hold-time", Type::Int),
            optional("x-device", Type::Str),
        ])
        .returns(Type::object([]));
    let x_screen = OwnCommand::waiting("x-screen", screen)
        .open_to(Role::View, "id")
        .takes([
            required("id", Type::Str),
            optional("attributes", Type::Bool),
            optional("redraw", Type::Bool),
            optional("cols", Type::Int),
            optional("rows", Type::Int),
        ])
        .returns(Type::object(shown_members()));
    [screendump, send_key, x_screen]
}

/// QAPI `KeyValue`.
pub(super) fn key() -> ObjectType {
    let data = |ty| ObjectType::new([required("data", ty)]);
    ObjectType::new([required("type", Type::words(&["number", "qcode"]))]).with_variants(
        "type",
        vec![
            ("number", data(Type::Int)),
            ("qcode", data(Type::words(KEY_NAMES))),
        ],
    )
}

async fn screendump(arguments: Object, caller: Caller) -> Answer {
    let text = |name| arguments.get(name).and_then(Json::as_str);
    let head = arguments.get("head").and_then(Json::as_i64);
    let device = text("device");
    match (device, head) {
        (None, Some(_)) => return Err("'head' must be specified together with 'device'".into()),
        (Some(device), Some(head)) if head != 0 && caller.chardevs().contains(device) => {
            let words = format!("Device {device} (head {head}) is not bound to a QemuConsole");
            return Err(words.as_str().into());
        }
        _ => {}
    }
    let format = match text("format") {
        Some("png") => PictureFormat::Png,
        _ => PictureFormat::Ppm,
    };
    let path = to_path(text("filename").unwrap_or_default(), None);
    let chardevs = caller.chardevs();
    let saved = chardevs
        .save_screen(device, &path, format, caller.source())
        .await;
    saved.map(|()| Json::empty()).map_err(no_screen)
}

/// All keys are pressed, in their order, and then let go. How long they are held does not matter
/// to a terminal.
fn send_key(arguments: &Object, caller: &Caller) -> Answer {
    let keys = arguments.get("keys").and_then(Json::as_array);
    let keys = keys.unwrap_or_default();
    if keys.len() > MOST_KEYS {
        return Err(format!("Parameter 'keys' expects up to {MOST_KEYS} keys").into());
    }
    let names = keys.iter().filter_map(|key| {
        let data = key.get("data")?;
        match data.as_str() {
            Some(name) => Some(name),
            None => name_of_scancode(data.as_i64()?),
        }
    });
    let names: Vec<&str> = names.collect();
    let event = |down| {
        move |name: &&str| InputEvent::Key {
            name: (*name).to_owned(),
            down,
        }
    };
    let mut events: Vec<_> = names.iter().map(event(true)).collect();
    events.extend(names.iter().map(event(false)));
    let device = arguments.get("x-device").and_then(Json::as_str);
    match caller.chardevs().send_input(device, &events) {
        Ok(()) => Ok(Json::empty()),
        Err(error @ InputError::NotFound(_)) => Err(not_found(error.to_string())),
        Err(error) => Err(QmpError::because(error)),
    }
}

async fn screen(arguments: Object, caller: Caller) -> Answer {
    let id = arguments.get("id").and_then(Json::as_str);
    let flag = |name| arguments.get(name).and_then(Json::as_bool) == Some(true);
    let size = size(&arguments)?;
    let screen = caller.chardevs().screen(id.unwrap_or_default(), size).await;
    let screen = screen.map_err(no_screen)?;
    Ok(screen_to_json(&screen, flag("attributes"), flag("redraw")))
}

/// The size of the screen that a history is put on.
fn size(arguments: &Object) -> Result<Size, QmpError> {
    let (usual, largest) = (Size::DEFAULT, Size::LARGEST);
    let number = |name: &str, usual: u16, largest: u16| {
        let Some(number) = arguments.get(name).and_then(Json::as_i64) else {
            return Ok(usual);
        };
        let number = u16::try_from(number).ok();
        let fits = number.filter(|number| (1..=largest).contains(number));
        let range = Expected::Range(1, largest.into());
        fits.ok_or_else(|| QmpError::because(ParameterError::expects(name, range)))
    };
    let cols = number("cols", usual.cols(), largest.cols())?;
    let rows = number("rows", usual.rows(), largest.rows())?;
    Ok(Size::new(cols.into(), rows.into()).unwrap_or(usual))
}

fn shown_members() -> Vec<Member> {
    let run = vec![
        required("row", Type::Int),
        required("col", Type::Int),
        required("width", Type::Int),
        optional("fg", Type::Str),
        optional("bg", Type::Str),
        optional("bold", Type::Bool),
        optional("faint", Type::Bool),
        optional("italic", Type::Bool),
        optional("underline", Type::Bool),
        optional("blink", Type::Bool),
        optional("reverse", Type::Bool),
        optional("strikethrough", Type::Bool),
    ];
    let cursor = [
        required("col", Type::Int),
        required("row", Type::Int),
        required("visible", Type::Bool),
    ];
    vec![
        required("cols", Type::Int),
        required("rows", Type::Int),
        required("title", Type::Str),
        required("cursor", Type::object(cursor)),
        required("text", Type::list(Type::Str)),
        optional("attributes", Type::list(Type::object(run))),
        optional("redraw", Type::Str),
        optional("epoch", Type::Str),
        required("offset", Type::Int),
        required("history", Type::Bool),
    ]
}

/// What `x-screen` answers for `screen`, with these parts of it.
pub fn screen_to_json(screen: &ShownScreen, attributes: bool, redraw: bool) -> Json {
    let shown = &screen.shown;
    let rows = 0..usize::from(shown.size().rows());
    let text: Vec<Json> = rows.map(|row| shown.row_text(row).into()).collect();
    let cursor = shown.cursor();
    let cursor = Object::new()
        .with("col", cursor.col as u64)
        .with("row", cursor.row as u64)
        .with("visible", cursor.visible);
    let mut all = Object::new()
        .with("cols", u64::from(shown.size().cols()))
        .with("rows", u64::from(shown.size().rows()))
        .with("title", shown.title())
        .with("cursor", cursor)
        .with("text", text);
    if attributes {
        all.insert("attributes", runs(shown));
    }
    if redraw {
        all.insert("redraw", screen.redraw.as_str());
    }
    all = with_epoch(all, screen.epoch);
    all.insert("offset", screen.offset);
    all.insert("history", screen.from_history);
    all.into()
}

fn runs(shown: &Snapshot) -> Vec<Json> {
    let rows = 0..usize::from(shown.size().rows());
    let runs = rows.flat_map(|row| shown.runs(row).into_iter().map(move |run| (row, run)));
    runs.map(|(row, run)| show_run(row, &run)).collect()
}

/// What is usual is left out.
fn show_run(row: usize, run: &Run) -> Json {
    let style = run.style;
    let mut shown = Object::new()
        .with("row", row as u64)
        .with("col", run.col as u64)
        .with("width", run.width as u64);
    for (name, color) in [("fg", style.fg), ("bg", style.bg)] {
        match color {
            Some(Color::Indexed(index)) => shown.insert(name, index.to_string()),
            Some(Color::Rgb(r, g, b)) => shown.insert(name, format!("#{r:02x}{g:02x}{b:02x}")),
            None => {}
        }
    }
    for (name, is_set) in [
        ("bold", style.bold),
        ("faint", style.faint),
        ("italic", style.italic),
        ("underline", style.underline),
        ("blink", style.blink),
        ("reverse", style.reverse),
        ("strikethrough", style.strikethrough),
    ] {
        if is_set {
            shown.insert(name, true);
        }
    }
    shown.into()
}

fn no_screen(error: ScreenError) -> QmpError {
    match error {
        ScreenError::NotFound(_) => not_found(error.to_string()),
        error => QmpError::because(error),
    }
}

fn not_found(words: String) -> QmpError {
    QmpError::device_not_found(words).of_kind(ErrorKind::NotFound)
}

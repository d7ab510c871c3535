//! Everything that runs, in a form that starts it again (`x-export`).

use std::path::Path;

use chardev::text::from_os;
use chardev_qapi::schema::{Type, optional, required};
use chardev_qapi::{Json, Object, backend_to_json, chardev_line, explicit};

use crate::own::OwnCommand;
use crate::service::Service;

/// The command `x-export`.
pub(super) fn command() -> OwnCommand {
    let chardev = [
        required("id", Type::Str),
        required("backend", Type::Any),
        optional("line", Type::Str),
        optional("why", Type::Str),
    ];
    OwnCommand::new("x-export", |_, caller| Ok(export(&caller.service)))
        .takes([])
        .returns(Type::object([
            optional("directory", Type::Str),
            required("objects", Type::list(Type::Str)),
            required("chardevs", Type::list(Type::object(chardev))),
            required("devices", Type::list(Type::Str)),
            required("monitors", Type::list(Type::Str)),
        ]))
}

#[cfg(feature = "tls")]
fn objects(service: &Service) -> Vec<String> {
    let all = service.chardevs.objects().list();
    let line = |(id, object): &(String, _)| super::objects::line(id, object);
    all.iter().map(line).collect()
}

#[cfg(not(feature = "tls"))]
fn objects(_service: &Service) -> Vec<String> {
    Vec::new()
}

/// Objects, chardevs, those that others rest on first, devices and monitors.
fn export(service: &Service) -> Json {
    let kinds = service.chardevs.kinds();
    let (mut chardevs, mut directory) = (Vec::new(), None);
    for (id, mut options) in service.chardevs.options() {
        let own = options.directory().map(Path::to_owned);
        directory = directory.or_else(|| own.clone());
        let kind = kinds.iter().find(|kind| kind.name == options.kind());
        if let (Some(own), Some(kind)) = (own, kind)
            && directory.as_ref() != Some(&own)
        {
            options.make_paths_absolute(kind, &own);
        }
        let options = explicit(&options, &kinds);
        let mut entry = Object::new().with("id", id.as_str());
        entry.insert("backend", backend_to_json(&options, &kinds));
        match chardev_line(&id, &options, &kinds) {
            Ok(line) => entry.insert("line", line),
            Err(why) => entry.insert("why", why.to_string()),
        }
        chardevs.push(entry);
    }
    let texts = |lines: Vec<String>| lines.into_iter().map(Json::from).collect::<Vec<_>>();
    let mut all = Object::new();
    if let Some(directory) = directory {
        all.insert("directory", from_os(directory.as_os_str()).to_string());
    }
    all.insert("objects", texts(objects(service)));
    all.insert("chardevs", chardevs);
    all.insert("devices", texts(service.devices.lines()));
    all.insert("monitors", texts(service.monitors.lines()));
    all.into()
}

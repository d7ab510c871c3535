//! `[web]`: where the page is served, and for whom.

use std::path::Path;

use super::check::check_table;
use super::errors::Mistakes;
use super::keys::WEB;
use super::values::Value;
use crate::web::Settings;

/// What the section says.
pub(super) fn settings(value: &Value, mistakes: &mut Mistakes) -> Option<Settings> {
    check_table(value, &[WEB], "[web]", mistakes);
    read(value, mistakes)
}

#[cfg(not(feature = "web"))]
fn read(value: &Value, mistakes: &mut Mistakes) -> Option<Settings> {
    let hint = "leave [web] out, or build it with the feature web".to_owned();
    mistakes.add_hint(&value.place, crate::web::LACKS, hint);
    None
}

#[cfg(feature = "web")]
fn read(value: &Value, mistakes: &mut Mistakes) -> Option<Settings> {
    use super::values::Data;

    let table = value.table()?;
    let Some(listen) = table.get("listen") else {
        let hint = "add listen = \"127.0.0.1:8080\"".to_owned();
        let what = "nothing says where the page is served";
        mistakes.add_hint(&value.place, what, hint);
        return None;
    };
    let address = chardev_web::Listen::parse(listen.text()?);
    let address = address
        .map_err(|why| mistakes.add(&listen.place, why))
        .ok()?;
    let hosts = table.get("hosts").map_or(Vec::new(), Value::texts);
    let hosts = hosts.into_iter().map(|(host, _)| host.to_owned()).collect();
    let connections = match table.get("connections").map(|it| (&it.data, &it.place)) {
        None => Settings::CONNECTIONS,
        Some((Data::Number(number @ 1..=100_000), _)) => usize::try_from(*number).ok()?,
        Some((_, place)) => {
            let what = "'connections' has to be from 1 to 100000";
            mistakes.add(place, what);
            return None;
        }
    };
    let tls = table.get("tls").map(|value| tls(value, mistakes));
    let proxy = table.get("proxy").map(|value| proxy(value, mistakes));
    Some(Settings {
        proxy: proxy.flatten(),
        tls: tls.flatten(),
        listen: address,
        hosts,
        connections,
    })
}

/// What may be said of a proxy: an address alone, or a table.
#[cfg(feature = "web")]
fn proxy(value: &Value, mistakes: &mut Mistakes) -> Option<chardev_web::Proxy> {
    let table = value.table();
    let from = match table {
        Some(table) => table.get("from").map_or(Vec::new(), Value::texts),
        None => value.texts(),
    };
    let read = from.iter().map(|(text, place)| {
        let address = text.parse().ok();
        if address.is_none() {
            let hint = "write one such as 127.0.0.1 or ::1".to_owned();
            mistakes.add_hint(place, format!("'{text}' is no address"), hint);
        }
        address
    });
    let from: Vec<Option<std::net::IpAddr>> = read.collect();
    if from.is_empty() {
        let hint = "add from = [\"127.0.0.1\"]".to_owned();
        mistakes.add_hint(&value.place, "nothing says where the proxy is", hint);
    }
    let header = table.and_then(|table| table.text("header"));
    Some(chardev_web::Proxy {
        from: from.into_iter().flatten().collect(),
        header: header.unwrap_or("X-Remote-User").to_lowercase(),
    })
}

/// The files of TLS.
#[cfg(feature = "web")]
fn tls(value: &Value, mistakes: &mut Mistakes) -> Option<chardev_web::Tls> {
    let table = value.table();
    let file = |name| Some(table?.text(name)?.into());
    let (Some(cert), Some(key)) = (file("cert"), file("key")) else {
        let hint = "write tls = { cert = \"cert.pem\", key = \"key.pem\" }".to_owned();
        let what = "TLS needs a certificate and its key";
        mistakes.add_hint(&value.place, what, hint);
        return None;
    };
    Some(chardev_web::Tls {
        cert,
        key,
        client_ca: file("client-ca"),
    })
}

/// The same with relative paths that start at `directory`.
pub(super) fn within(settings: Settings, directory: &Path) -> Settings {
    #[cfg(feature = "web")]
    return settings.within(directory);
    #[cfg(not(feature = "web"))]
    {
        let _ = directory;
        settings
    }
}

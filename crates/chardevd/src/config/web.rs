//! `[web]`: where the page is served, and for whom.

#[cfg(feature = "web")]
use std::net::IpAddr;
use std::path::Path;

#[cfg(feature = "web")]
use nix::unistd::Group;

#[cfg(feature = "web")]
use super::access::by_names;
use super::check::check_table;
use super::errors::Mistakes;
#[cfg(feature = "web")]
use super::errors::Place;
use super::keys::WEB;
#[cfg(feature = "web")]
use super::values::Table;
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
    let is_path = matches!(address, chardev_web::Listen::Unix(_));
    let proxy = table
        .get("proxy")
        .map(|value| proxy(value, is_path, mistakes));
    Some(Settings {
        proxy: proxy.flatten(),
        tls: tls.flatten(),
        permit: permit(table, is_path, mistakes),
        listen: address,
        hosts,
        connections,
    })
}

/// Who may connect to a path.
#[cfg(feature = "web")]
fn permit(table: &Table, is_path: bool, mistakes: &mut Mistakes) -> chardev_web::Permit {
    let mut permit = chardev_web::Permit::default();
    let said = ["mode", "group"].map(|name| table.get(name));
    if let (false, Some(value)) = (is_path, said.into_iter().flatten().next()) {
        let hint = "write listen = \"unix:PATH\", or leave it out".to_owned();
        let what = "'mode' and 'group' are for a page that listens at a path";
        mistakes.add_hint(&value.place, what, hint);
    }
    let [mode, group] = said.map(|value| Some((value?.text()?, &value?.place)));
    if let Some((text, place)) = mode {
        match u32::from_str_radix(text, 8).ok().filter(|it| *it <= 0o777) {
            Some(mode) => permit.mode = mode,
            None => {
                let hint = "write three digits from 0 to 7, such as \"0660\"".to_owned();
                mistakes.add_hint(place, format!("'{text}' is no mode"), hint);
            }
        }
    }
    if let Some((name, place)) = group {
        let found = || Some(Group::from_name(name).ok()??.gid.as_raw());
        permit.group = name.parse().ok().or_else(found);
        if permit.group.is_none() {
            let hint = "write the name of a group of this host, or a number".to_owned();
            mistakes.add_hint(place, format!("there is no group '{name}'"), hint);
        }
    }
    permit
}

/// What may be said of a proxy: where it connects from alone, or a table.
#[cfg(feature = "web")]
fn proxy(value: &Value, is_path: bool, mistakes: &mut Mistakes) -> Option<chardev_web::Proxy> {
    let table = value.table();
    let listed = |name| table.and_then(|table| table.get(name)).map(Value::texts);
    let (from, users) = match table {
        Some(_) => (listed("from"), listed("users")),
        None => (Some(value.texts()), None),
    };
    let odd = match is_path {
        true => from.as_ref().filter(|_| table.is_some()),
        false => users.as_ref(),
    };
    if odd.is_some() {
        let (what, hint) = match is_path {
            true => (
                "who connects to a path has no address",
                "write users = [\"www-data\"]",
            ),
            false => (
                "who connects to an address may be anybody",
                "write from = [\"127.0.0.1\"]",
            ),
        };
        mistakes.add_hint(&value.place, what, hint.to_owned());
    }
    let header = table.and_then(|table| table.text("header"));
    let header = header.unwrap_or("X-Remote-User").to_lowercase();
    let (from, users) = match is_path {
        true => (Vec::new(), users.or(from)),
        false => (addresses(value, &from.unwrap_or_default(), mistakes), None),
    };
    Some(chardev_web::Proxy {
        from,
        users: users.map(|users| by_names(users, mistakes)),
        header,
    })
}

#[cfg(feature = "web")]
fn addresses(value: &Value, from: &[(&str, &Place)], mistakes: &mut Mistakes) -> Vec<IpAddr> {
    let read = from.iter().map(|(text, place)| {
        let address = text.parse().ok();
        if address.is_none() {
            let hint = "write one such as 127.0.0.1 or ::1".to_owned();
            mistakes.add_hint(place, format!("'{text}' is no address"), hint);
        }
        address
    });
    let from: Vec<Option<IpAddr>> = read.collect();
    if from.is_empty() {
        let hint = "add from = [\"127.0.0.1\"]".to_owned();
        mistakes.add_hint(&value.place, "nothing says where the proxy is", hint);
    }
    from.into_iter().flatten().collect()
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

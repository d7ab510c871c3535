//! The part of QEMU's object model that clients ask for about chardevs.

use chardev::spec::KindSpec;
use chardev::{Chardevs, Info};
use chardev_qapi::{Json, Object, QmpError};

/// The types of `object-add`, with the types that they are derived from.
#[cfg(feature = "tls")]
const OBJECTS: [(&str, &str); 6] = [
    ("tls-creds", "object"),
    ("tls-creds-x509", "tls-creds"),
    ("authz", "object"),
    ("authz-simple", "authz"),
    ("authz-list", "authz"),
    // In this list QEMU spells it in another way than in `object-add`.
    ("authz-list-file", "authz"),
];

/// QAPI `ObjectTypeInfo` of the types that are `implements` or derived from it (`qom-list-types`).
pub(crate) fn list_types(
    kinds: &[&KindSpec],
    implements: Option<&str>,
    with_abstract: bool,
) -> Json {
    let mut types = vec![
        ("chardev".to_owned(), "object", true),
        ("chardev-fd".to_owned(), "chardev", true),
    ];
    types.extend(
        kinds
            .iter()
            .map(|kind| (type_name(kind.name), kind.parent, false)),
    );
    #[cfg(feature = "tls")]
    types.extend(OBJECTS.map(|(name, parent)| (name.to_owned(), parent, parent == "object")));
    let is_a = |name: &str| {
        let mut name = Some(name);
        while let Some(this) = name {
            if implements.is_none_or(|wanted| wanted == this) {
                return true;
            }
            let parent = types.iter().find(|(known, ..)| known == this);
            name = parent.map(|(_, parent, _)| *parent);
        }
        implements == Some("object")
    };
    let listed = types
        .iter()
        .filter(|(name, _, is_abstract)| (with_abstract || !is_abstract) && is_a(name));
    let infos = listed.map(|(name, parent, is_abstract)| {
        let mut info = Object::new();
        if *is_abstract {
            info.insert("abstract", true);
        }
        info.with("name", name.as_str()).with("parent", *parent)
    });
    infos.collect::<Vec<_>>().into()
}

/// QAPI `ObjectPropertyInfo` of the object at `path` (`qom-list`).
///
/// # Errors
/// There is no object at the path, or the path is empty.
pub(crate) fn list(chardevs: &Chardevs, path: &str) -> Result<Json, QmpError> {
    let not_found = || QmpError::device_not_found(format!("Device '{path}' not found"));
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() && !path.starts_with('/') {
        return Err(format!("Path '{path}' is ambiguous").into());
    }
    // A path that does not begin at the root may begin anywhere.
    if !path.starts_with('/') && !["chardevs", "objects"].contains(parts.first().unwrap_or(&"")) {
        parts.insert(0, "chardevs");
    }
    let mut properties = vec![property("type", "string")];
    match parts.as_slice() {
        [] => {
            #[cfg(feature = "tls")]
            properties.push(property("objects", "child<container>"));
            properties.push(property("chardevs", "child<container>"));
        }
        #[cfg(feature = "tls")]
        ["objects", rest @ ..] => {
            let found = objects_at(chardevs, rest);
            properties.extend(found.ok_or_else(not_found)?);
        }
        ["chardevs"] => properties.extend(chardevs.list().iter().map(|info| {
            let child = format!("child<{}>", type_name(info.kind));
            property(&info.label, &child)
        })),
        ["chardevs", id] => {
            let info = chardevs.info(id).ok_or_else(not_found)?;
            properties.extend(own_properties(chardevs, &info));
        }
        _ => return Err(not_found()),
    }
    Ok(properties.into())
}

fn own_properties(chardevs: &Chardevs, info: &Info) -> Vec<Object> {
    let kinds = chardevs.kinds();
    let kind = kinds.iter().find(|kind| kind.name == info.kind);
    let properties = kind.map_or(&[] as &[_], |kind| kind.properties).iter();
    properties.map(|(name, ty)| property(name, ty)).collect()
}

/// The properties of the object that `path` names below all objects, or of their container.
#[cfg(feature = "tls")]
fn objects_at(chardevs: &Chardevs, path: &[&str]) -> Option<Vec<Object>> {
    let all = chardevs.objects().list();
    match path {
        [] => {
            let child = |kind| format!("child<{kind}>");
            let all = all.iter();
            Some(
                all.map(|(id, object)| property(id, &child(object.kind())))
                    .collect(),
            )
        }
        [id] => {
            let (_, object) = all.iter().find(|(known, _)| known == id)?;
            let properties = crate::commands::objects::properties(object).iter();
            Some(properties.map(|(name, ty)| property(name, ty)).collect())
        }
        _ => None,
    }
}

fn property(name: &str, ty: &str) -> Object {
    Object::new().with("name", name).with("type", ty)
}

fn type_name(kind: &str) -> String {
    format!("chardev-{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_listed_with_their_parents() {
        let names = |implements, with_abstract| {
            let types = list_types(&chardev::back::specs(), implements, with_abstract);
            let names = types.as_array().unwrap_or_default().iter();
            let names = names.filter_map(|info| Some(info.get("name")?.as_str()?.to_owned()));
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            names(Some("chardev-ringbuf"), false),
            ["chardev-ringbuf", "chardev-memory"]
        );
        assert!(names(Some("chardev"), true).contains(&"chardev-fd".to_owned()));
        #[cfg(feature = "tls")]
        assert_eq!(names(Some("tls-creds"), false), ["tls-creds-x509"]);
        let objects = if cfg!(feature = "tls") { 4 } else { 0 };
        let all = chardev::back::specs().len() + objects;
        assert_eq!(names(None, false).len(), all);
        assert_eq!(names(Some("object"), false).len(), all);
        assert!(names(Some("nosuch"), true).is_empty());
    }
}

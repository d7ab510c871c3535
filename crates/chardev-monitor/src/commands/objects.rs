//! Objects that back ends name (`object-add`, `object-del`): TLS credentials, and who may come.

use std::error::Error;
use std::path::Path;

use chardev::objects::{
    AuthzFormat, AuthzList, AuthzPolicy, AuthzRule, NewObject, TlsCreds, TlsEndpoint,
};
use chardev::spec::{Expected, ParameterError};
use chardev::text::{from_os, to_path};
use chardev_qapi::opts::{is_identifier, parse_bool, parse_opts};
use chardev_qapi::schema::{Member, ObjectType, Type, optional, required};
use chardev_qapi::{Json, Object, QmpError, check_arguments};

use super::generic;
use crate::own::OwnCommand;
use crate::server::Server;

const POLICIES: &[&str] = &["deny", "allow"];
const FORMATS: &[&str] = &["exact", "glob"];

/// The commands `object-add` and `object-del`.
pub(super) fn commands() -> [OwnCommand; 2] {
    let add = OwnCommand::waiting("object-add", |arguments, caller| async move {
        let (id, new) = read(&arguments)?;
        let added = caller.chardevs().objects().add(&id, new).await;
        added.map(|()| Json::empty()).map_err(generic)
    });
    let remove = OwnCommand::new("object-del", |arguments, caller| {
        let id = text(arguments, "id");
        let removed = caller.chardevs().objects().remove(id);
        removed.map(|()| Json::empty()).map_err(generic)
    });
    [
        add.takes_type(arguments()),
        remove.takes([required("id", Type::Str)]),
    ]
}

/// QAPI `ObjectOptions`, as far as it is here.
fn arguments() -> ObjectType {
    let variants = variants();
    let kinds: Vec<_> = variants.iter().map(|(kind, _)| *kind).collect();
    ObjectType::new([
        required("qom-type", Type::words(&kinds)),
        required("id", Type::Str),
    ])
    .with_variants("qom-type", variants)
}

fn variants() -> Vec<(&'static str, ObjectType)> {
    let policy = || Type::words(POLICIES);
    let rule = [
        required("match", Type::Str),
        required("policy", policy()),
        optional("format", Type::words(FORMATS)),
    ];
    let creds = |own: &[Member]| {
        let endpoint = Type::words(&["client", "server"]);
        let mut members = vec![
            optional("verify-peer", Type::Bool),
            optional("dir", Type::Str),
            optional("endpoint", endpoint),
            optional("priority", Type::Str),
        ];
        members.extend_from_slice(own);
        ObjectType::new(members)
    };
    let list = [
        optional("policy", policy()),
        optional("rules", Type::list(Type::object(rule))),
    ];
    let file = [
        required("filename", Type::Str),
        optional("refresh", Type::Bool),
    ];
    vec![
        (
            "tls-creds-x509",
            creds(&[
                optional("sanity-check", Type::Bool),
                optional("passwordid", Type::Str),
            ]),
        ),
        ("tls-creds-anon", creds(&[])),
        ("tls-creds-psk", creds(&[optional("username", Type::Str)])),
        (
            "authz-simple",
            ObjectType::new([required("identity", Type::Str)]),
        ),
        ("authz-list", ObjectType::new(list)),
        ("authz-listfile", ObjectType::new(file)),
    ]
}

/// The id and the rest; `arguments` are of the right types.
fn read(arguments: &Object) -> Result<(String, NewObject), QmpError> {
    let id = text(arguments, "id");
    if !is_identifier(id) {
        let error = ParameterError::expects("id", Expected::Identifier);
        return Err(QmpError::because(error));
    }
    let new = match text(arguments, "qom-type") {
        "tls-creds-x509" => NewObject::TlsCreds(read_creds(arguments)?),
        "authz-simple" => NewObject::AuthzSimple {
            identity: text(arguments, "identity").to_owned(),
        },
        "authz-list" => NewObject::AuthzList(read_list(arguments)),
        "authz-listfile" => NewObject::AuthzListFile {
            filename: to_path(text(arguments, "filename"), None),
            refresh: flag(arguments, "refresh", true),
            read: parse_list,
        },
        other => {
            return Err(QmpError::generic(format!(
                "'{other}' is not supported by this build: use 'tls-creds-x509', with \
                 verify-peer=off if clients have no certificates"
            )));
        }
    };
    Ok((id.to_owned(), new))
}

fn read_creds(arguments: &Object) -> Result<TlsCreds, QmpError> {
    let given = |name: &str| arguments.get(name).is_some();
    if given("passwordid") {
        return Err(QmpError::generic(
            "'passwordid' is not supported by this build: decrypt the key with 'openssl pkey', \
             into a file that only this user can read",
        ));
    }
    if given("priority") && text(arguments, "priority") != "NORMAL" {
        return Err(QmpError::generic(
            "'priority' is not supported by this build, which speaks TLS 1.2 and 1.3 with the \
             ciphers of rustls",
        ));
    }
    if !given("dir") {
        return Err(QmpError::generic("Missing 'dir' property value"));
    }
    Ok(TlsCreds {
        dir: to_path(text(arguments, "dir"), None),
        endpoint: match text(arguments, "endpoint") {
            "server" => TlsEndpoint::Server,
            _ => TlsEndpoint::Client,
        },
        verify_peer: flag(arguments, "verify-peer", true),
    })
}

fn read_list(object: &Object) -> AuthzList {
    let policy = |object: &Object| match text(object, "policy") {
        "allow" => AuthzPolicy::Allow,
        _ => AuthzPolicy::Deny,
    };
    let rules = object.get("rules").and_then(Json::as_array);
    let rules = rules.unwrap_or_default().iter().filter_map(Json::as_object);
    AuthzList {
        rules: rules
            .map(|rule| AuthzRule {
                matches: text(rule, "match").to_owned(),
                policy: policy(rule),
                format: match text(rule, "format") {
                    "glob" => AuthzFormat::Glob,
                    _ => AuthzFormat::Exact,
                },
            })
            .collect(),
        policy: policy(object),
    }
}

/// Reads the content of an `authz-listfile`, which is what `authz-list` takes.
fn parse_list(content: &str) -> Result<AuthzList, Box<dyn Error + Send + Sync>> {
    let json = Json::parse(content)?;
    let object = json.as_object().ok_or("it is not a JSON object")?;
    let (_, ty) = variants()
        .into_iter()
        .find(|(kind, _)| *kind == "authz-list")
        .unwrap_or_default();
    check_arguments(object, &ty)?;
    Ok(read_list(object))
}

fn text<'a>(object: &'a Object, name: &str) -> &'a str {
    object.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn flag(object: &Object, name: &str, default: bool) -> bool {
    object.get(name).and_then(Json::as_bool).unwrap_or(default)
}

impl Server {
    /// Adds the object that `line` says in the grammar of QEMU's `-object`, or in JSON. A relative
    /// path in it starts at `directory`.
    ///
    /// # Errors
    /// In QEMU's words.
    pub async fn add_object(&self, line: &str, directory: &Path) -> Result<(), QmpError> {
        let (id, mut new) = read(&parse_line(line)?)?;
        match &mut new {
            NewObject::TlsCreds(creds) => creds.dir = directory.join(&creds.dir),
            NewObject::AuthzListFile { filename, .. } => *filename = directory.join(&*filename),
            _ => {}
        }
        let added = self.chardevs().objects().add(&id, new).await;
        added.map_err(generic)
    }
}

/// The id of the object that `line` says, as [`Server::add_object`] takes it; what it names is not
/// looked at.
///
/// # Errors
/// In QEMU's words.
pub fn object_id(line: &str) -> Result<String, QmpError> {
    Ok(read(&parse_line(line)?)?.0)
}

fn parse_line(line: &str) -> Result<Object, QmpError> {
    let ty = arguments();
    if line.starts_with('{') {
        let json = Json::parse(line).map_err(generic)?;
        let object = json.as_object().ok_or("it is not a JSON object")?;
        check_arguments(object, &ty).map_err(generic)?;
        return Ok(object.clone());
    }
    let opts = parse_opts(line, "qom-type");
    let kind = opts.get("qom-type");
    let kind = kind.ok_or_else(|| generic(ParameterError::missing("qom-type")))?;
    let variants = variants();
    let variant = variants.iter().find(|(name, _)| *name == kind);
    let Some((_, variant)) = variant else {
        return Err(generic(ParameterError::not_accepted("qom-type", kind)));
    };
    let mut object = Object::new();
    for (key, value) in &opts.pairs {
        let member = variant.members.iter().find(|member| member.name == key);
        let value = match member.map(|member| &member.ty) {
            Some(Type::Bool) => Json::from(parse_bool(key, value).map_err(generic)?),
            Some(Type::Str | Type::Enum(_)) => Json::from(value.as_str()),
            None if ["qom-type", "id"].contains(&key.as_str()) => Json::from(value.as_str()),
            // A list of rules is for JSON.
            _ => return Err(generic(ParameterError::invalid(key))),
        };
        object.insert(key.clone(), value);
    }
    check_arguments(&object, &ty).map_err(generic)?;
    Ok(object)
}

/// The object `id` as `-object` takes it.
pub(super) fn line(id: &str, object: &NewObject) -> String {
    let mut all = Object::new().with("qom-type", object.kind()).with("id", id);
    let path = |path: &Path| from_os(path.as_os_str());
    match object {
        NewObject::TlsCreds(creds) => {
            all.insert("dir", path(&creds.dir));
            let endpoint = match creds.endpoint {
                TlsEndpoint::Client => "client",
                TlsEndpoint::Server => "server",
            };
            all.insert("endpoint", endpoint);
            all.insert("verify-peer", creds.verify_peer);
        }
        NewObject::AuthzSimple { identity } => all.insert("identity", identity.as_str()),
        NewObject::AuthzList(list) => write_list(list, &mut all),
        NewObject::AuthzListFile {
            filename, refresh, ..
        } => {
            all.insert("filename", path(filename));
            all.insert("refresh", *refresh);
        }
        _ => {}
    }
    Json::from(all).to_string()
}

fn write_list(list: &AuthzList, all: &mut Object) {
    let policy = |policy| match policy {
        AuthzPolicy::Deny => "deny",
        AuthzPolicy::Allow => "allow",
    };
    let rules = list.rules.iter().map(|rule| {
        let format = match rule.format {
            AuthzFormat::Exact => "exact",
            AuthzFormat::Glob => "glob",
        };
        Object::new()
            .with("match", rule.matches.as_str())
            .with("policy", policy(rule.policy))
            .with("format", format)
    });
    all.insert("policy", policy(list.policy));
    all.insert("rules", rules.collect::<Vec<_>>());
}

/// The properties of an object with their QAPI types, for `qom-list`.
pub(crate) fn properties(object: &NewObject) -> &'static [(&'static str, &'static str)] {
    match object {
        NewObject::TlsCreds(_) => &[
            ("verify-peer", "bool"),
            ("dir", "string"),
            ("endpoint", "QCryptoTLSCredsEndpoint"),
        ],
        NewObject::AuthzSimple { .. } => &[("identity", "string")],
        NewObject::AuthzList(_) => &[("policy", "QAuthZListPolicy"), ("rules", "QAuthZListRule")],
        NewObject::AuthzListFile { .. } => &[("filename", "string"), ("refresh", "bool")],
        _ => &[],
    }
}

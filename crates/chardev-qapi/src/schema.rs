//! Types of the wire as data: the source of `query-qmp-schema`, and what answers are checked
//! against.

use std::fmt;

use crate::json::{Json, Object};

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Str,
    /// An integer of 64 bits, with or without a sign.
    Int,
    /// Any number.
    Number,
    /// A truth value.
    Bool,
    /// Any value at all.
    Any,
    /// One of a fixed set of words.
    Enum(Vec<Word>),
    /// A list whose elements are all of one type.
    List(Box<Type>),
    /// Named members.
    Object(ObjectType),
}

/// A word of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its spelling.
    pub name: &'static str,
    /// Whether it should no longer be used.
    pub deprecated: bool,
}

/// The members of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectType {
    /// The members every value has or may have.
    pub members: Vec<Member>,
    /// The member that chooses a variant, and what each of its words adds.
    pub variants: Option<(&'static str, Vec<(&'static str, ObjectType)>)>,
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub ty: Type,
    /// Whether it may be absent.
    pub optional: bool,
    /// Whether it should no longer be used.
    pub deprecated: bool,
}

/// A member that is always there.
pub fn required(name: &'static str, ty: Type) -> Member {
    Member {
        name,
        ty,
        optional: false,
        deprecated: false,
    }
}

/// A member that may be absent.
pub fn optional(name: &'static str, ty: Type) -> Member {
    Member {
        optional: true,
        ..required(name, ty)
    }
}

/// What is wrong with a value, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The way there, as in `.list[0].name`; empty for the value itself.
    pub path: String,
    /// What is wrong there.
    pub what: String,
}

impl Mismatch {
    /// Something wrong with the value itself.
    pub fn new(what: impl Into<String>) -> Self {
        Mismatch {
            path: String::new(),
            what: what.into(),
        }
    }

    /// The same, seen from further outside.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.path.insert_str(0, outer);
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path, self.what)
    }
}

impl std::error::Error for Mismatch {}

impl Type {
    /// An enumeration without deprecated words.
    pub fn words(names: &[&'static str]) -> Self {
        Type::Enum(names.iter().copied().map(Word::new).collect())
    }

    /// A list of `element`.
    pub fn list(element: Type) -> Self {
        Type::List(Box::new(element))
    }

    /// An object with these members.
    pub fn object(members: impl Into<Vec<Member>>) -> Self {
        Type::Object(ObjectType::new(members))
    }

    /// Whether `value` is of this type: nothing missing, nothing unexpected.
    ///
    /// # Errors
    /// What is wrong, with the path to it.
    pub fn check(&self, value: &Json) -> Result<(), Mismatch> {
        let right = match (self, value) {
            (Type::Any, _)
            | (Type::Str, Json::Str(_) | Json::Lazy(_))
            | (Type::Bool, Json::Bool(_))
            | (Type::Int | Type::Number, Json::Int(_) | Json::UInt(_))
            | (Type::Number, Json::Float(_)) => true,
            (Type::Enum(words), Json::Str(text)) => words.iter().any(|word| word.name == text),
            (Type::List(element), Json::Array(items)) => {
                return items.iter().enumerate().try_for_each(|(at, item)| {
                    let checked = element.check(item);
                    checked.map_err(|wrong| wrong.within(&format!("[{at}]")))
                });
            }
            (Type::Object(object), Json::Object(members)) => return object.check(members),
            _ => false,
        };
        match right {
            true => Ok(()),
            false => Err(Mismatch::new(format!(": {value} is not of type {self:?}"))),
        }
    }
}

impl Word {
    /// A word that is not deprecated.
    pub const fn new(name: &'static str) -> Self {
        Word {
            name,
            deprecated: false,
        }
    }
}

impl ObjectType {
    /// An object with these members and no variants.
    pub fn new(members: impl Into<Vec<Member>>) -> Self {
        ObjectType {
            members: members.into(),
            variants: None,
        }
    }

    /// The same, with the variants that member `tag` chooses from.
    #[must_use]
    pub fn with_variants(
        mut self,
        tag: &'static str,
        variants: impl Into<Vec<(&'static str, ObjectType)>>,
    ) -> Self {
        self.variants = Some((tag, variants.into()));
        self
    }

    /// See [`Type::check`].
    ///
    /// # Errors
    /// What is wrong, with the path to it.
    pub fn check(&self, value: &Object) -> Result<(), Mismatch> {
        let members = self.members_for(value);
        let at = |name: &str, wrong: Mismatch| wrong.within(&format!(".{name}"));
        for member in &members {
            let checked = match value.get(member.name) {
                Some(found) => member.ty.check(found),
                None if member.optional => Ok(()),
                None => Err(Mismatch::new(" is missing")),
            };
            checked.map_err(|wrong| at(member.name, wrong))?;
        }
        let unexpected = value
            .iter()
            .find(|(name, _)| members.iter().all(|member| member.name != *name));
        match unexpected {
            Some((name, _)) => Err(at(name, Mismatch::new(" is unexpected"))),
            None => Ok(()),
        }
    }

    /// The members a value may have, given the variant it chooses.
    pub(crate) fn members_for(&self, value: &Object) -> Vec<&Member> {
        let mut members: Vec<&Member> = self.members.iter().collect();
        if let Some((tag, variants)) = &self.variants {
            let chosen = value.get(tag).and_then(Json::as_str);
            let variant = variants.iter().find(|(word, _)| Some(*word) == chosen);
            members.extend(variant.into_iter().flat_map(|(_, more)| &more.members));
        }
        members
    }
}

/// A command or an event, for [`introspect`].
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Arguments of the command, data of the event.
    pub arguments: ObjectType,
    /// What the command returns; `None` for an event.
    pub returns: Option<Type>,
    /// Whether the command may be run out of band.
    pub allow_oob: bool,
    /// QAPI features.
    pub features: &'static [&'static str],
}

/// QAPI `SchemaInfoList`: every entry, and every type they use, named by numbers as QEMU does.
pub fn introspect(entries: &[Entry]) -> Json {
    let mut names = Names::default();
    let mut list = Vec::new();
    for entry in entries {
        let arg_type = names.object(&entry.arguments);
        let mut info = Object::new().with("name", entry.name);
        if let Some(returns) = &entry.returns {
            info.insert("ret-type", names.of(returns));
        }
        info.insert(
            "meta-type",
            if entry.returns.is_some() {
                "command"
            } else {
                "event"
            },
        );
        if entry.allow_oob {
            info.insert("allow-oob", true);
        }
        insert_features(&mut info, entry.features);
        list.push(info.with("arg-type", arg_type));
    }
    list.append(&mut names.infos);
    list.into()
}

/// The types seen so far; equal types share a name.
#[derive(Default)]
struct Names {
    seen: Vec<(Type, String)>,
    infos: Vec<Object>,
    last: usize,
}

impl Names {
    fn of(&mut self, ty: &Type) -> String {
        let builtin = match ty {
            Type::Str => Some(("str", "string")),
            Type::Int => Some(("int", "int")),
            Type::Number => Some(("number", "number")),
            Type::Bool => Some(("bool", "boolean")),
            Type::Any => Some(("any", "value")),
            Type::Enum(_) | Type::List(_) | Type::Object(_) => None,
        };
        if let Some((_, name)) = self.seen.iter().find(|(seen, _)| seen == ty) {
            return name.clone();
        }
        let (name, info) = match (builtin, ty) {
            (Some((name, json)), _) => {
                let info = Object::new().with("json-type", json);
                (name.to_owned(), info.with("meta-type", "builtin"))
            }
            (None, Type::List(element)) => {
                let element = self.of(element);
                let info = Object::new().with("element-type", element.as_str());
                (format!("[{element}]"), info.with("meta-type", "array"))
            }
            (None, Type::Enum(words)) => (self.next(), enum_info(words)),
            (None, Type::Object(object)) => {
                let name = self.next();
                let info = self.object_info(object);
                (name, info)
            }
            (None, _) => unreachable!("every other type is built in"),
        };
        let mut named = Object::new().with("name", name.as_str());
        for (key, value) in info.iter() {
            named.insert(key.to_owned(), value.clone());
        }
        self.infos.push(named);
        self.seen.push((ty.clone(), name.clone()));
        name
    }

    fn object(&mut self, object: &ObjectType) -> String {
        self.of(&Type::Object(object.clone()))
    }

    fn next(&mut self) -> String {
        self.last += 1;
        (self.last - 1).to_string()
    }

    fn object_info(&mut self, object: &ObjectType) -> Object {
        let mut members = Vec::new();
        for member in &object.members {
            let mut info = Object::new().with("name", member.name);
            if member.optional {
                info.insert("default", Json::Null);
            }
            info.insert("type", self.of(&member.ty));
            insert_features(&mut info, deprecated(member.deprecated));
            members.push(info);
        }
        let mut info = Object::new().with("members", members);
        if let Some((tag, variants)) = &object.variants {
            let variants: Vec<Object> = variants
                .iter()
                .map(|(word, more)| {
                    Object::new()
                        .with("case", *word)
                        .with("type", self.object(more))
                })
                .collect();
            info.insert("tag", *tag);
            info.insert("variants", variants);
        }
        info.with("meta-type", "object")
    }
}

fn enum_info(words: &[Word]) -> Object {
    let members: Vec<Object> = words
        .iter()
        .map(|word| {
            let mut info = Object::new().with("name", word.name);
            insert_features(&mut info, deprecated(word.deprecated));
            info
        })
        .collect();
    let values: Vec<&str> = words.iter().map(|word| word.name).collect();
    Object::new()
        .with("members", members)
        .with("meta-type", "enum")
        .with("values", values)
}

fn deprecated(is: bool) -> &'static [&'static str] {
    if is { &["deprecated"] } else { &[] }
}

fn insert_features(info: &mut Object, features: &[&'static str]) {
    if !features.is_empty() {
        info.insert("features", features.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Type {
        let variants = [
            ("a", ObjectType::new([required("x", Type::Int)])),
            ("b", ObjectType::default()),
        ];
        Type::Object(
            ObjectType::new([required("kind", Type::words(&["a", "b"]))])
                .with_variants("kind", variants),
        )
    }

    #[test]
    fn answers_are_held_against_their_type() {
        for (text, ty, error) in [
            ("'x'", Type::Str, ""),
            ("1.5", Type::Number, ""),
            ("1.5", Type::Int, ": 1.5 is not of type Int"),
            (
                "[true, 1]",
                Type::list(Type::Bool),
                "[1]: 1 is not of type Bool",
            ),
            ("{'kind': 'a', 'x': 1}", pair(), ""),
            ("{'kind': 'b', 'x': 1}", pair(), ".x is unexpected"),
            ("{'kind': 'a'}", pair(), ".x is missing"),
            ("{}", Type::object([optional("y", Type::Any)]), ""),
        ] {
            let value = Json::parse(text).unwrap();
            let wrong = ty.check(&value).err();
            let said = wrong.map_or_else(String::new, |wrong| wrong.to_string());
            assert_eq!(said, error, "{text}");
        }
    }

    #[test]
    fn types_are_named_by_numbers_and_shared() {
        let entries = [
            Entry {
                name: "cmd",
                arguments: ObjectType::new([optional("p", pair())]),
                returns: Some(Type::list(pair())),
                allow_oob: true,
                features: &["unstable"],
            },
            Entry {
                name: "EV",
                arguments: ObjectType::default(),
                returns: None,
                allow_oob: false,
                features: &[],
            },
        ];
        let text = introspect(&entries).to_string();
        for part in [
            r#"{"name": "cmd", "ret-type": "[1]", "meta-type": "command", "allow-oob": true, "features": ["unstable"], "arg-type": "0"}"#,
            r#"{"name": "EV", "meta-type": "event", "arg-type": "4"}"#,
            r#"{"name": "0", "members": [{"name": "p", "default": null, "type": "1"}], "meta-type": "object"}"#,
            r#"{"name": "[1]", "element-type": "1", "meta-type": "array"}"#,
            r#""tag": "kind", "variants": [{"case": "a", "type": "3"}, {"case": "b", "type": "4"}]"#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

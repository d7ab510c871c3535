//! A JSON value that keeps what QMP needs: member order, and integers apart from floats.

use std::borrow::Cow;

use crate::error::JsonError;
use crate::lazy::LazyText;
use crate::write::{Written, to_pretty_string, to_string};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer that fits in 64 bits with a sign.
    Int(i64),
    /// An integer above `i64::MAX` that fits in 64 bits; smaller ones are [`Json::Int`].
    UInt(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(String),
    /// Text that is made as it is sent, once: whoever writes the value takes it.
    Lazy(LazyText),
    /// A list.
    Array(Vec<Json>),
    /// Named members.
    Object(Object),
}

/// The members of a JSON object, in the order in which they were inserted. A name that the program
/// knows is not copied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    members: Vec<(Cow<'static, str>, Json)>,
}

impl Object {
    /// An object without members.
    pub const fn new() -> Self {
        Object {
            members: Vec::new(),
        }
    }

    /// The value of member `name`.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.members
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Appends a member; one that was there under the same name is replaced in its place.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Json>) {
        let (name, value) = (name.into(), value.into());
        match self.members.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.members.push((name, value)),
        }
    }

    /// Adds a member and returns the object, for building one in an expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Self {
        self.insert(name, value);
        self
    }

    /// Takes member `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let at = self.members.iter().position(|(key, _)| key == name)?;
        Some(self.members.remove(at).1)
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.members.iter().map(|(key, value)| (&**key, value))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Appends a member whose name the parser knows to be new.
    pub(crate) fn push_new(&mut self, name: String, value: Json) {
        self.members.push((name.into(), value));
    }
}

impl Json {
    /// The empty object `{}`, which is what most commands return.
    pub fn empty() -> Self {
        Json::Object(Object::new())
    }

    /// Parses exactly one value; white space around it is allowed.
    ///
    /// # Errors
    /// An incomplete or repeated value is an error too.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        crate::parser::parse_one(text.as_bytes())
    }

    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if this is one within `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Json::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if this is one within `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Json::Int(value) => u64::try_from(*value).ok(),
            Json::UInt(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements, if this is a list.
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Member `name`, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.as_object()?.get(name)
    }

    /// The value written on one line, or indented, with a hole for each [`Json::Lazy`].
    pub fn write(&self, pretty: bool) -> Written {
        Written::of(self, pretty)
    }

    /// QEMU's indented form: four spaces a level.
    pub fn to_pretty_string(&self) -> String {
        to_pretty_string(self)
    }
}

/// One line, ASCII only, spaced as QEMU does.
impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_string(self))
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Json::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Json::Int(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Json::Int(value.into())
    }
}

impl From<u16> for Json {
    fn from(value: u16) -> Self {
        Json::Int(value.into())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        match i64::try_from(value) {
            Ok(value) => Json::Int(value),
            Err(_) => Json::UInt(value),
        }
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Json::Str(value.to_owned())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Json::Str(value)
    }
}

impl From<LazyText> for Json {
    fn from(value: LazyText) -> Self {
        Json::Lazy(value)
    }
}

impl From<Object> for Json {
    fn from(value: Object) -> Self {
        Json::Object(value)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(values: Vec<T>) -> Self {
        Json::Array(values.into_iter().map(Into::into).collect())
    }
}

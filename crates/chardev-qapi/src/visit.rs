//! Reading a JSON object strictly: every member is asked for by name, what is left is an error.

use crate::json::{Json, Object};

/// Reads the members of one object, with QEMU's words for what is wrong.
///
/// Ask for the members in schema order, because the first error wins; end with
/// [`finish`](Reader::finish), which refuses members nobody asked for.
#[derive(Debug)]
pub struct Reader<'a> {
    object: &'a Object,
    path: String,
    known: Vec<&'a str>,
}

/// A type of value that a member can have.
pub trait Member<'a>: Sized {
    /// What QEMU calls the type.
    const EXPECTED: &'static str;

    /// The value, if it has this type.
    fn from_json(value: &'a Json) -> Option<Self>;
}

impl<'a> Member<'a> for &'a str {
    const EXPECTED: &'static str = "string";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_str()
    }
}

impl<'a> Member<'a> for String {
    const EXPECTED: &'static str = "string";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl<'a> Member<'a> for bool {
    const EXPECTED: &'static str = "boolean";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_bool()
    }
}

impl<'a> Member<'a> for i64 {
    const EXPECTED: &'static str = "integer";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_i64()
    }
}

impl<'a> Member<'a> for &'a [Json] {
    const EXPECTED: &'static str = "array";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_array()
    }
}

impl<'a> Member<'a> for &'a Object {
    const EXPECTED: &'static str = "object";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_object()
    }
}

impl<'a> Reader<'a> {
    /// Reads `object`, whose own name is `path`; the arguments of a command have the path `""`.
    pub fn new(object: &'a Object, path: impl Into<String>) -> Self {
        Reader {
            object,
            path: path.into(),
            known: Vec::new(),
        }
    }

    /// The same for a value that has yet to prove that it is an object.
    ///
    /// # Errors
    /// `Invalid parameter type for '…', expected: object`
    pub fn from_value(value: &'a Json, path: impl Into<String>) -> Result<Self, String> {
        let path = path.into();
        match value.as_object() {
            Some(object) => Ok(Reader::new(object, path)),
            None => Err(wrong_type(&path, "object")),
        }
    }

    /// The member's name with the path to it, as in `backend.data.size`.
    pub fn full_name(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// A member that may be absent.
    ///
    /// # Errors
    /// `Invalid parameter type for '…', expected: …`
    pub fn optional<T: Member<'a>>(&mut self, name: &'a str) -> Result<Option<T>, String> {
        self.known.push(name);
        match self.object.get(name) {
            None => Ok(None),
            Some(value) => match T::from_json(value) {
                Some(value) => Ok(Some(value)),
                None => Err(wrong_type(&self.full_name(name), T::EXPECTED)),
            },
        }
    }

    /// A member that must be there.
    ///
    /// # Errors
    /// `Parameter '…' is missing`, or as for [`optional`](Reader::optional).
    pub fn required<T: Member<'a>>(&mut self, name: &'a str) -> Result<T, String> {
        match self.optional(name)? {
            Some(value) => Ok(value),
            None => Err(self.missing(name)),
        }
    }

    /// Any value that must be there.
    ///
    /// # Errors
    /// `Parameter '…' is missing`
    pub fn required_value(&mut self, name: &'a str) -> Result<&'a Json, String> {
        self.known.push(name);
        self.object.get(name).ok_or_else(|| self.missing(name))
    }

    /// A reader for a member that must be there and be an object.
    ///
    /// # Errors
    /// As for [`required`](Reader::required).
    pub fn object(&mut self, name: &'a str) -> Result<Reader<'a>, String> {
        let object: &Object = self.required(name)?;
        Ok(Reader::new(object, self.full_name(name)))
    }

    /// An unsigned integer of 16 bits that may be absent.
    ///
    /// # Errors
    /// `Invalid parameter type for '…', expected: uint64`; `Parameter '…' expects uint16_t`
    pub fn optional_u16(&mut self, name: &'a str) -> Result<Option<u16>, String> {
        self.known.push(name);
        let too_big = || format!("Parameter '{name}' expects uint16_t");
        match self.object.get(name) {
            None => Ok(None),
            Some(Json::Int(number)) => u16::try_from(*number).map(Some).map_err(|_| too_big()),
            Some(Json::UInt(_)) => Err(too_big()),
            Some(_) => Err(wrong_type(&self.full_name(name), "uint64")),
        }
    }

    /// An unsigned integer of 16 bits that must be there.
    ///
    /// # Errors
    /// `Parameter '…' is missing`, or as for [`optional_u16`](Reader::optional_u16).
    pub fn required_u16(&mut self, name: &'a str) -> Result<u16, String> {
        self.optional_u16(name)?.ok_or_else(|| self.missing(name))
    }

    /// One of `words`, which may be absent.
    ///
    /// # Errors
    /// `Parameter '…' does not accept value '…'`, naming only the last part of the path.
    pub fn optional_enum(
        &mut self,
        name: &'a str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, String> {
        match self.optional::<&str>(name)? {
            None => Ok(None),
            Some(text) => pick_word(name, text, words).map(Some),
        }
    }

    /// A list of strings that may be absent.
    ///
    /// # Errors
    /// As for [`optional`](Reader::optional); an element is named `list[0]`.
    pub fn optional_strings(&mut self, name: &'a str) -> Result<Option<Vec<String>>, String> {
        let Some(items) = self.optional::<&[Json]>(name)? else {
            return Ok(None);
        };
        let mut texts = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    return Err(wrong_type(
                        &format!("{}[{at}]", self.full_name(name)),
                        "string",
                    ));
                }
            }
        }
        Ok(Some(texts))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Parameter '…' is unexpected` for the first member that was not asked for.
    pub fn finish(self) -> Result<(), String> {
        match self
            .object
            .iter()
            .find(|(name, _)| !self.known.contains(name))
        {
            Some((name, _)) => Err(format!(
                "Parameter '{}' is unexpected",
                self.full_name(name)
            )),
            None => Ok(()),
        }
    }

    /// QEMU's words for a member that is not there.
    pub fn missing(&self, name: &str) -> String {
        format!("Parameter '{}' is missing", self.full_name(name))
    }
}

/// Finds `text` among `words`.
///
/// # Errors
/// `Parameter '…' does not accept value '…'`
pub fn pick_word(name: &str, text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    let found = words.iter().copied().find(|word| *word == text);
    found.ok_or_else(|| not_accepted(name, text))
}

/// QEMU's words for a value outside of an enumeration; `name` is the last part of the path.
pub fn not_accepted(name: &str, text: &str) -> String {
    format!("Parameter '{name}' does not accept value '{text}'")
}

fn wrong_type(name: &str, expected: &str) -> String {
    format!("Invalid parameter type for '{name}', expected: {expected}")
}

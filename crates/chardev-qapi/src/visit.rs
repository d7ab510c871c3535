//! Reading a JSON object strictly: every member is asked for by name, what is left is an error.
//!
//! The same code that reads arguments can be asked to describe them instead, so that what
//! `query-qmp-schema` says is what the parser does.

use crate::json::{Json, Object};
use crate::schema::{Member as MemberType, ObjectType, Type, Word, optional, required};
use crate::spec::{Expected, KindSpec, Options, ParameterError, Problem};

/// Reads the members of one object, with QEMU's words for what is wrong.
///
/// Ask for the members in schema order, because the first error wins; end with
/// [`finish`](Reader::finish), which refuses members nobody asked for.
///
/// A reader made by [`describing`](Reader::describing) has nothing to read: every method notes
/// what it was asked for, and returns a placeholder or nothing. Code that reads must therefore ask
/// for the same members whatever their values are; where one member decides about others, that is
/// what [`tagged`](Reader::tagged) is for.
#[derive(Debug)]
pub struct Reader<'a> {
    object: &'a Object,
    path: String,
    known: Vec<&'a str>,
    described: Option<ObjectType>,
}

static NOTHING: Object = Object::new();

/// A type of value that a member can have.
pub trait Member<'a>: Sized {
    /// What QEMU calls the type.
    const EXPECTED: &'static str;

    /// What a describing reader returns.
    const PLACEHOLDER: Self;

    /// The type on the wire.
    const TYPE: Type;

    /// The value, if it has this type.
    fn from_json(value: &'a Json) -> Option<Self>;
}

impl<'a> Member<'a> for &'a str {
    const PLACEHOLDER: Self = "";
    const TYPE: Type = Type::Str;
    const EXPECTED: &'static str = "string";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_str()
    }
}

impl<'a> Member<'a> for String {
    const PLACEHOLDER: Self = String::new();
    const TYPE: Type = Type::Str;
    const EXPECTED: &'static str = "string";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl<'a> Member<'a> for bool {
    const PLACEHOLDER: Self = false;
    const TYPE: Type = Type::Bool;
    const EXPECTED: &'static str = "boolean";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_bool()
    }
}

impl<'a> Member<'a> for i64 {
    const PLACEHOLDER: Self = 0;
    const TYPE: Type = Type::Int;
    const EXPECTED: &'static str = "integer";

    fn from_json(value: &'a Json) -> Option<Self> {
        value.as_i64()
    }
}

impl<'a> Reader<'a> {
    /// Reads `object`, whose own name is `path`; the arguments of a command have the path `""`.
    pub fn new(object: &'a Object, path: impl Into<String>) -> Self {
        Reader {
            object,
            path: path.into(),
            known: Vec::new(),
            described: None,
        }
    }

    /// A reader that notes what it is asked for; [`described`](Reader::described) tells.
    pub fn describing() -> Self {
        Reader {
            described: Some(ObjectType::default()),
            ..Reader::new(&NOTHING, "")
        }
    }

    /// What a describing reader was asked for; nothing for one that reads.
    pub fn described(self) -> ObjectType {
        self.described.unwrap_or_default()
    }

    /// The same for a value that has yet to prove that it is an object.
    ///
    /// # Errors
    /// `Invalid parameter type for '…', expected: object`
    pub fn from_value(value: &'a Json, path: impl Into<String>) -> Result<Self, ParameterError> {
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
    pub fn optional<T: Member<'a>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, ParameterError> {
        match self.take(|| optional(name, T::TYPE), name) {
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
    pub fn required<T: Member<'a>>(&mut self, name: &'static str) -> Result<T, ParameterError> {
        let value = self.optional(name)?;
        self.or_missing(name, value, T::PLACEHOLDER)
    }

    /// A member that must be there and be an object, read by `read` to its end.
    ///
    /// # Errors
    /// As for [`required`](Reader::required), or what `read` finds.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, ParameterError>,
    ) -> Result<T, ParameterError> {
        match self.optional_object(name, read)? {
            Some(value) => {
                self.mark_required();
                Ok(value)
            }
            None => Err(self.missing(name)),
        }
    }

    /// The same for a member that may be absent. A describing reader returns what `read` made.
    ///
    /// # Errors
    /// As for [`optional`](Reader::optional), or what `read` finds.
    pub fn optional_object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, ParameterError>,
    ) -> Result<Option<T>, ParameterError> {
        if let Some(described) = &mut self.described {
            let mut inner = Reader::describing();
            let value = read(&mut inner)?;
            let ty = Type::Object(inner.described());
            described.members.push(optional(name, ty));
            return Ok(Some(value));
        }
        self.known.push(name);
        let Some(value) = self.object.get(name) else {
            return Ok(None);
        };
        let mut inner = Reader::from_value(value, self.full_name(name))?;
        let value = read(&mut inner)?;
        inner.finish()?;
        Ok(Some(value))
    }

    /// A list of objects that must be there, each read by `read` to its end.
    ///
    /// # Errors
    /// As for [`required`](Reader::required), or what `read` finds; an element is named `list[0]`.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, ParameterError>,
    ) -> Result<Vec<T>, ParameterError> {
        if let Some(described) = &mut self.described {
            let mut inner = Reader::describing();
            let value = read(&mut inner)?;
            let ty = Type::list(Type::Object(inner.described()));
            described.members.push(required(name, ty));
            return Ok(vec![value]);
        }
        self.known.push(name);
        let value = self.object.get(name).ok_or_else(|| self.missing(name))?;
        let path = self.full_name(name);
        let items = value.as_array();
        let items = items.ok_or_else(|| wrong_type(&path, "array"))?;
        let mut values = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let mut inner = Reader::from_value(item, format!("{path}[{at}]"))?;
            values.push(read(&mut inner)?);
            inner.finish()?;
        }
        Ok(values)
    }

    /// A member that is one of `words` and decides which others there are; `read` reads those.
    ///
    /// # Errors
    /// As for [`required`](Reader::required) and [`pick_word`], or what `read` finds.
    pub fn tagged<T>(
        &mut self,
        name: &'static str,
        words: &[Word],
        mut read: impl FnMut(&mut Reader<'a>, &'static str) -> Result<T, ParameterError>,
    ) -> Result<T, ParameterError> {
        if let Some(described) = &mut self.described {
            described
                .members
                .push(required(name, Type::Enum(words.to_vec())));
            let mut variants = Vec::new();
            let mut first = None;
            for word in words {
                let mut inner = Reader::describing();
                let value = read(&mut inner, word.name)?;
                first.get_or_insert(value);
                variants.push((word.name, inner.described()));
            }
            described.variants = Some((name, variants));
            return first.ok_or_else(|| self.missing(name));
        }
        let text: &str = self.required(name)?;
        let word = words.iter().find(|word| word.name == text);
        let word = word.ok_or_else(|| ParameterError::not_accepted(name, text))?;
        read(self, word.name)
    }

    /// A back end of one of `kinds` that must be there (QAPI `ChardevBackend`).
    ///
    /// # Errors
    /// As for [`parse_backend`](crate::parse_backend).
    pub fn backend(
        &mut self,
        name: &'static str,
        kinds: &[&'static KindSpec],
    ) -> Result<Options, ParameterError> {
        self.object(name, |backend| crate::backend::read_backend(backend, kinds))
    }

    /// An unsigned integer of 16 bits that may be absent.
    ///
    /// # Errors
    /// `Parameter '…' expects uint64`; `Parameter '…' expects uint16_t`
    pub fn optional_u16(&mut self, name: &'static str) -> Result<Option<u16>, ParameterError> {
        let too_big = || ParameterError::expects(name, Expected::Other("uint16_t"));
        match self.take(|| optional(name, Type::Int), name) {
            None => Ok(None),
            Some(Json::Int(number)) => u16::try_from(*number).map(Some).map_err(|_| too_big()),
            Some(Json::UInt(_)) => Err(too_big()),
            Some(_) => Err(ParameterError::expects(
                self.full_name(name),
                Expected::Other("uint64"),
            )),
        }
    }

    /// An unsigned integer of 16 bits that must be there.
    ///
    /// # Errors
    /// `Parameter '…' is missing`, or as for [`optional_u16`](Reader::optional_u16).
    pub fn required_u16(&mut self, name: &'static str) -> Result<u16, ParameterError> {
        let value = self.optional_u16(name)?;
        self.or_missing(name, value, 0)
    }

    /// One of `words`, which may be absent.
    ///
    /// # Errors
    /// `Parameter '…' does not accept value '…'`, naming only the last part of the path.
    pub fn optional_enum(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, ParameterError> {
        match self.take(|| optional(name, Type::words(words)), name) {
            None => Ok(None),
            Some(Json::Str(text)) => pick_word(name, text, words).map(Some),
            Some(_) => Err(wrong_type(&self.full_name(name), "string")),
        }
    }

    /// A list of words that may be absent.
    ///
    /// # Errors
    /// As for [`optional`](Reader::optional); QEMU calls an element it refuses 'null'.
    pub fn optional_enums(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<Vec<&'static str>>, ParameterError> {
        let ty = || optional(name, Type::list(Type::words(words)));
        let texts = self.read_strings(name, ty)?;
        texts
            .map(|texts| {
                let picked = texts.iter().map(|text| pick_word("null", text, words));
                picked.collect()
            })
            .transpose()
    }

    /// A list of strings that may be absent.
    ///
    /// # Errors
    /// As for [`optional`](Reader::optional); an element is named `list[0]`.
    pub fn optional_strings(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<String>>, ParameterError> {
        self.read_strings(name, || optional(name, Type::list(Type::Str)))
    }

    /// Says that the member asked for last should no longer be used.
    pub fn mark_deprecated(&mut self) {
        if let Some(member) = self.last_described() {
            member.deprecated = true;
        }
    }

    /// Says that the member asked for last must be there; the caller sees to that.
    pub(crate) fn mark_required(&mut self) {
        if let Some(member) = self.last_described() {
            member.optional = false;
        }
    }

    /// Whether this reader notes what it is asked for, and so finds nothing.
    pub(crate) fn describes(&self) -> bool {
        self.described.is_some()
    }

    fn last_described(&mut self) -> Option<&mut MemberType> {
        self.described.as_mut()?.members.last_mut()
    }

    /// The value of a member, whose type is only needed to describe it.
    fn take(
        &mut self,
        member: impl FnOnce() -> MemberType,
        name: &'static str,
    ) -> Option<&'a Json> {
        match &mut self.described {
            Some(described) => {
                described.members.push(member());
                None
            }
            None => {
                self.known.push(name);
                self.object.get(name)
            }
        }
    }

    fn read_strings(
        &mut self,
        name: &'static str,
        member: impl FnOnce() -> MemberType,
    ) -> Result<Option<Vec<String>>, ParameterError> {
        let Some(value) = self.take(member, name) else {
            return Ok(None);
        };
        let path = self.full_name(name);
        let items = value.as_array();
        let items = items.ok_or_else(|| wrong_type(&path, "array"))?;
        let texts = items.iter().enumerate().map(|(at, item)| {
            let text = item.as_str().map(str::to_owned);
            text.ok_or_else(|| wrong_type(&format!("{path}[{at}]"), "string"))
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    fn or_missing<T>(
        &mut self,
        name: &'static str,
        value: Option<T>,
        placeholder: T,
    ) -> Result<T, ParameterError> {
        match value {
            Some(value) => Ok(value),
            None if self.describes() => {
                self.mark_required();
                Ok(placeholder)
            }
            None => Err(self.missing(name)),
        }
    }

    /// All members that have not been asked for, where any may be there.
    pub fn rest(&mut self) -> Vec<(&'a str, &'a Json)> {
        let object = self.object;
        let known = std::mem::take(&mut self.known);
        let rest = object.iter().filter(|(name, _)| !known.contains(name));
        let rest: Vec<_> = rest.collect();
        self.known = object.iter().map(|(name, _)| name).collect();
        rest
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Parameter '…' is unexpected` for the first member that was not asked for.
    pub fn finish(self) -> Result<(), ParameterError> {
        match self
            .object
            .iter()
            .find(|(name, _)| !self.known.contains(name))
        {
            Some((name, _)) => Err(ParameterError::new(
                self.full_name(name),
                Problem::Unexpected,
            )),
            None => Ok(()),
        }
    }

    /// The error for a member that is not there.
    pub fn missing(&self, name: &str) -> ParameterError {
        ParameterError::missing(self.full_name(name))
    }
}

/// Finds `text` among `words`.
///
/// # Errors
/// `Parameter '…' does not accept value '…'`; for a name of ours also what it accepts
pub fn pick_word(
    name: &str,
    text: &str,
    words: &[&'static str],
) -> Result<&'static str, ParameterError> {
    let found = words.iter().copied().find(|word| *word == text);
    found.ok_or_else(|| ParameterError::not_one_of(name, text, words))
}

fn wrong_type(name: &str, expected: &'static str) -> ParameterError {
    ParameterError::new(name, Problem::WrongType(expected))
}

//! Commands and events of the program's own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use chardev_qapi::schema::{Member, ObjectType, Type};
use chardev_qapi::{Json, Object, QmpError};

use crate::access::{Need, Role};
use crate::caller::Caller;

/// What a command comes to: the value after `return`, or an error in the words the client gets.
pub type Answer = Result<Json, QmpError>;

type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A command that a program adds to those that are there, with its types.
///
/// ```
/// use chardev_monitor::schema::{Type, required};
/// use chardev_monitor::{Object, OwnCommand};
///
/// let double = OwnCommand::new("x-double", |arguments, _caller| {
///     let number = arguments.get("number").and_then(|it| it.as_i64()).unwrap_or(0);
///     Ok(Object::new().with("double", 2 * number).into())
/// })
/// .takes([required("number", Type::Int)])
/// .returns(Type::object([required("double", Type::Int)]));
/// ```
///
/// A command with types is in the schema, and its arguments are checked before it is called: here
/// `{}` is answered with "Parameter 'number' is missing". One without is not in the schema, and is
/// called with whatever the client sends.
#[derive(Clone)]
pub struct OwnCommand {
    pub(crate) spec: chardev_qmp::OwnCommand,
    open_to: OpenTo,
    work: Arc<dyn Fn(Object, Caller) -> Work + Send + Sync>,
}

/// Who may use a command.
#[derive(Clone, Copy)]
enum OpenTo {
    /// Who may do everything.
    Admins,
    /// Who has this role for the chardev that is named in this argument.
    Role(Role, &'static str),
    /// Everybody; what a client may not see is left out of the list that is the answer.
    All,
    /// Everybody, those too who have yet to say who they are.
    #[cfg_attr(not(feature = "tokens"), allow(dead_code))]
    Strangers,
    /// Everybody, whatever they may do.
    Everybody,
}

impl OwnCommand {
    /// A command that is answered at once: `work` runs on the thread of the monitors and must not
    /// wait for anything.
    pub fn new(
        name: &'static str,
        work: impl Fn(&Object, &Caller) -> Answer + Send + Sync + 'static,
    ) -> Self {
        OwnCommand::made_of(name, move |arguments, caller| {
            let answer = work(&arguments, &caller);
            Box::pin(std::future::ready(answer))
        })
    }

    /// A command that may wait. Its client gets no other answer meanwhile, and everybody else does;
    /// when it leaves, the future is dropped. No other work may be done in a future than is quick:
    /// what computes or blocks belongs on a thread of the program's.
    pub fn waiting<F>(
        name: &'static str,
        work: impl Fn(Object, Caller) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        OwnCommand::made_of(name, move |arguments, caller| {
            Box::pin(work(arguments, caller))
        })
    }

    /// The arguments, in the order in which they are checked. A program that says only what a
    /// command [`returns`](OwnCommand::returns) has one without arguments.
    #[must_use]
    pub fn takes(mut self, arguments: impl Into<Vec<Member>>) -> Self {
        self.types().0 = ObjectType::new(arguments);
        self
    }

    /// The arguments as a type that may have variants.
    #[cfg(feature = "tls")]
    pub(crate) fn takes_type(mut self, arguments: ObjectType) -> Self {
        self.types().0 = arguments;
        self
    }

    /// The type of the answer; without this it is `{}`. Debug builds check it.
    #[must_use]
    pub fn returns(mut self, ty: Type) -> Self {
        self.types().1 = ty;
        self
    }

    /// Lets clients run it with `exec-oob`, ahead of what they asked for before.
    #[must_use]
    pub fn out_of_band(mut self) -> Self {
        self.spec.allow_oob = true;
        self
    }

    /// Whoever has `role` for the chardev in argument `key` may use it, and without that argument
    /// whoever has it for all. Without this, only admins may; see [`Access`](crate::Access).
    #[must_use]
    pub fn open_to(mut self, role: Role, key: &'static str) -> Self {
        self.open_to = OpenTo::Role(role, key);
        self
    }

    /// Whoever has `role` for all chardevs may use it.
    #[must_use]
    pub fn open_to_all_of(mut self, role: Role) -> Self {
        self.open_to = OpenTo::Role(role, "");
        self
    }

    /// Everybody may use it: its answer is a list of objects, of which a client only gets those
    /// whose `chardev`, `label` or `id` it may see.
    #[must_use]
    pub fn lists_chardevs(mut self) -> Self {
        self.open_to = OpenTo::All;
        self
    }

    /// Everybody may use it, before they have proven who they are.
    #[cfg(feature = "tokens")]
    pub(crate) fn open_to_strangers(mut self) -> Self {
        self.open_to = OpenTo::Strangers;
        self
    }

    /// Everybody may use it who may come to a monitor, whatever they may do there.
    #[must_use]
    pub fn open_to_everybody(mut self) -> Self {
        self.open_to = OpenTo::Everybody;
        self
    }

    pub(crate) fn need(&self, arguments: &Object) -> Need {
        match self.open_to {
            OpenTo::Admins => Need::all(Role::Admin),
            OpenTo::Role(role, key) => Need::of_argument(role, key, arguments),
            OpenTo::All => Need::List,
            OpenTo::Strangers => Need::Stranger,
            OpenTo::Everybody => Need::Nothing,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    pub(crate) fn run(&self, arguments: Object, caller: Caller) -> Work {
        (self.work)(arguments, caller)
    }

    fn made_of(
        name: &'static str,
        work: impl Fn(Object, Caller) -> Work + Send + Sync + 'static,
    ) -> Self {
        OwnCommand {
            spec: chardev_qmp::OwnCommand {
                name,
                allow_oob: false,
                schema: None,
            },
            open_to: OpenTo::Admins,
            work: Arc::new(work),
        }
    }

    fn types(&mut self) -> &mut (ObjectType, Type) {
        let none = || (ObjectType::default(), Type::object([]));
        self.spec.schema.get_or_insert_with(none)
    }
}

impl fmt::Debug for OwnCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

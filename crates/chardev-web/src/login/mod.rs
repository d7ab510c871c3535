//! Who a request is from, and whether it may come from there at all.

mod addresses;
mod bucket;
mod guard;
mod headers;
mod links;
mod secret;
mod sessions;
mod users;

pub(crate) use addresses::{Addresses, Guest};
pub(crate) use guard::{Visitor, cookie, cookie_name, guard, present};
pub(crate) use links::Links;
pub(crate) use sessions::{Session, Sessions};
pub(crate) use users::Users;

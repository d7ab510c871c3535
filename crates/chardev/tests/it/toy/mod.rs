//! A toy protocol, and sockets whose peers speak it.

pub(crate) mod escape;
pub(crate) mod escaped;

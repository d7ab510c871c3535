//! chardevctl: the client of the daemon.
pub mod demo;

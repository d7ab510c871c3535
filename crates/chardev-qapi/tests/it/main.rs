//! The tests of chardev-qapi, in one program: a file a subject, and folders that they share.

mod backend;
mod cmdline;
mod json;
mod kinds;
mod line;

//! The tests of chardev-monitor, in one program: a file a subject, and folders that they share.

mod examples;
mod kinds;
mod server;

//! The tests of microvm, in one program: a file a subject, and folders that they share.

mod common;
mod lines;
mod machine;
mod reset;
mod serial;
mod stalls;

//! The machine against back ends without a host: what a change keeps, and who is woken.

// As the toy protocol, which the tests of sockets have too, knows it.
extern crate chardev_core as chardev;

mod answers;
mod change;
mod commit;
mod drain;
#[allow(dead_code, reason = "the tests of sockets use the rest")]
#[path = "../../../chardev/tests/it/toy/escape.rs"]
mod escape;
mod graph;
mod handover;
mod hub;
mod layers;
mod mux;
mod net;
mod notice;
mod options;
mod output;
mod rig;
mod sim;
mod splice;
mod tap;
mod turn;

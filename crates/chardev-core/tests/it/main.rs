//! The machine against back ends without a host: what a change keeps, and who is woken.

mod answers;
mod change;
mod commit;
mod drain;
mod graph;
mod handover;
mod hub;
mod mux;
mod net;
mod notice;
mod options;
mod output;
mod rig;
mod sim;
mod tap;
mod turn;

//! The machine against back ends without a host: what a change keeps, and who is woken.

mod change;
mod commit;
mod drain;
mod graph;
mod handover;
mod many;
mod net;
mod notice;
mod rig;
mod sim;
mod tap;
mod turn;

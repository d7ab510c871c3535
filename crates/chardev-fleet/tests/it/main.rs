//! The pure parts against each other, and the whole against real servers.

mod cluster;
mod fuzz;
mod servers;
mod sim;
mod wire;

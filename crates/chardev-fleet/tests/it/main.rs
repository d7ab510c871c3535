//! The pure parts against each other, and the whole against real servers.

mod cluster;
mod desk;
mod fuzz;
mod presence;
mod present;
mod secure;
mod servers;
mod session_sim;
mod sim;
mod thief;
mod wire;

//! Tests of the screen from outside.

mod bounds;
mod fuzz;
mod picture;
mod programs;
mod sequences;
mod splits;
mod tmux;

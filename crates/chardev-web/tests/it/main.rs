//! Tests of what the web page reads, from outside. The page itself is tested with the daemon.

mod fuzz;

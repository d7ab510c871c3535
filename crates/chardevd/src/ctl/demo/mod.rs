//! demo
pub mod check;
pub mod numbers;
pub mod records;

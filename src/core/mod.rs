//! What should happen, as pure functions: no I/O, no clock, no randomness (time and seed are arguments).

pub mod conditions;
pub mod job;
pub mod mover_state;
pub mod names;
pub mod problem;
pub mod restore;
pub mod sensitive;
pub mod task;
pub mod time;
pub mod volumes;
pub mod workload;

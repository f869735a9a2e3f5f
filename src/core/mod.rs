//! What should happen, as pure functions: no I/O, no clock, no randomness (time and seed are arguments).

pub mod answer;
pub mod conditions;
pub mod destination;
pub mod driver;
pub mod job;
pub mod mover_state;
pub mod names;
pub mod problem;
pub mod restic;
pub mod retention;
pub mod select;
pub mod schedule;
pub mod restore;
pub mod sensitive;
pub mod snapshots;
pub mod task;
pub mod time;
pub mod tree;
pub mod volumes;
pub mod workload;

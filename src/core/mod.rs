//! What should happen, as pure functions: no I/O, no clock, no randomness (time and seed are arguments).

pub mod conditions;
pub mod field;
pub mod index;
pub mod item;
pub mod job;
pub mod mover_state;
pub mod names;
pub mod near;
pub mod problem;
pub mod reference;
pub mod sensitive;
pub mod task;
pub mod time;

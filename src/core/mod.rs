//! What should happen, as pure functions: no I/O, no clock, no randomness (time and seed are arguments).

pub mod conditions;
pub mod field;
pub mod gate;
pub mod index;
pub mod interest;
pub mod item;
pub mod job;
pub mod mover_state;
pub mod names;
pub mod near;
pub mod problem;
pub mod reference;
pub mod rewrite;
pub mod secret;
pub mod sensitive;
pub mod store;
pub mod task;
pub mod template;
pub mod time;

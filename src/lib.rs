//! Strongroom keeps what Git cannot rebuild: a cluster's secrets and its data.
//!
//! Where to look, and where a change goes. Dependencies point one way (a test keeps it so):
//! `api <- core <- controllers -> clients`, and `mover -> core, clients`, `cli -> core, clients`.
//!
//! - [`api`]: the kinds that a user writes: types, validation, printer columns. One file for each kind.
//! - [`core`]: what should happen, as pure functions: no I/O, no clock, no randomness. Each controller's
//!   plan is here, and so are schedules, retention, templates, names, conditions, object builders,
//!   restic's arguments and messages.
//! - [`clients`]: the outside world: the cluster, 1Password Connect, restic as a child process.
//! - [`controllers`]: observe, let `core` plan, execute. One file for each kind, and what they share.
//! - [`mover`]: what runs inside a Job, as PID 1 around restic.
//! - `cli`: the command line for people, one file for each command. Behind the feature `cli`, which the image does not
//!   have.

pub mod api;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clients;
pub mod controllers;
pub mod core;
pub mod mover;

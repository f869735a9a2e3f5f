//! restic 0.19: the variables it takes, the arguments it is started with, what it prints, how it ends.
//! Read in its source and seen with the real program (tests/restic.rs).

pub mod arguments;
pub mod failure;
pub mod messages;
pub mod progress;
pub mod redact;
pub mod variables;

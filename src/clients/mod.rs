//! The outside world: the cluster, 1Password Connect, restic as a child process.

pub mod cluster;
pub mod connect;
pub mod exec;
pub mod groups;
pub mod guarded;
pub mod memo;
pub mod paths;
pub mod restic;

//! The cluster suite: the operator as its chart installs it, on a real one-machine Kubernetes with real storage,
//! restic and the development Connect server. `make test` starts the cluster and runs it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "these are tests, and what tests share"
)]

mod apps;
mod attack;
mod audit;
mod backups;
mod bench;
mod ca;
mod canary;
mod cli;
mod declared;
mod due;
mod eso;
mod hooks;
mod kills;
mod locks;
mod machine;
mod messages;
mod metrics;
mod peer;
mod proxy;
mod quiet;
mod random;
mod restores;
mod rotation;
mod scale;
mod secrets;
mod soak;
mod start;
mod support;
mod targets;
#[path = "../support/tls.rs"]
mod tls;
mod walk;

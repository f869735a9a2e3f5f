//! What runs by itself, at its time. Each waits for minutes, and beside the others.

mod herd;
mod scheduled;

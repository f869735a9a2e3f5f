//! What takes its minutes, so that it runs beside what else does: runs at their times, and a mover that is slow.

mod herd;
mod node;
mod progress;
mod scheduled;

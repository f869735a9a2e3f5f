//! Observe, let `core` plan, execute: one file for each kind, and what they share.

//! A development server that behaves like 1Password Connect.
fn main() {}

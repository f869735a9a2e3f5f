//! The server as a program: started, asked over the wire, ended.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod common;
#[cfg(test)]
mod faults;

//! The command line for people: reads what was typed, asks the cluster, and writes what `core` says about it.
//!
//! One file for each command. The same program is a plugin of kubectl where it is called `kubectl-strongroom`.

mod accept;
mod backup;
mod cluster;
mod failure;
mod snapshots;
mod status;

use std::{
    ffi::OsStr,
    io::{self, BufRead, Write},
    path::Path,
};

pub use failure::Failure;

/// What people can ask for.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Shows what is protected, what is stale, what waits, what runs, and which claims nobody backs up.
    Status(status::Args),
    /// Backs up.
    #[command(subcommand)]
    Backup(Backup),
    /// Lists the snapshots of a VolumeBackup that its status knows, and the runs that were not good.
    Snapshots(snapshots::Args),
    /// Accepts what the condition of an object asks to confirm.
    Accept(accept::Args),
    /// Shows whose locks are in the way of a VolumeBackup or a repository, and has its next run remove them.
    Unlock(accept::Args),
}

/// What can be done with a `VolumeBackup`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Backup {
    /// Runs a VolumeBackup now, and follows it to its end.
    Now(backup::Args),
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// As JSON.
    Json,
}

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Good,
    /// Not as it should, which has been said.
    Bad,
}

/// Where a command reads and writes.
#[derive(Debug)]
pub struct Console<R, W> {
    /// Answers to questions.
    pub input: R,
    /// Results.
    pub output: W,
    /// Whether somebody can answer.
    pub asks: bool,
    /// Whether a line can be redrawn.
    pub redraws: bool,
    /// What people call this program.
    pub program: &'static str,
}

impl<R: BufRead, W: Write> Console<R, W> {
    /// Asks a question; whether the answer is yes.
    fn agrees(&mut self, question: &str) -> io::Result<bool> {
        write!(self.output, "{question} [y/N] ")?;
        self.output.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// Does what was asked for.
pub async fn run(command: Command, console: &mut Console<impl BufRead, impl Write>) -> Result<Outcome, Failure> {
    match command {
        Command::Status(args) => Box::pin(status::run(args, console)).await,
        Command::Backup(Backup::Now(args)) => Box::pin(backup::run(args, console)).await,
        Command::Snapshots(args) => Box::pin(snapshots::run(args, console)).await,
        Command::Accept(args) => Box::pin(accept::run(args, console)).await,
        Command::Unlock(args) => Box::pin(accept::unlock(args, console)).await,
    }
}

/// What people call this program, by the name that it was started with.
pub fn program(started_as: Option<&OsStr>) -> &'static str {
    let name = started_as.map(Path::new).and_then(Path::file_stem).and_then(OsStr::to_str).unwrap_or_default();
    if name.starts_with("kubectl-") { "kubectl strongroom" } else { "strongroom" }
}

/// Writes something as JSON that people can read too.
fn json(output: &mut impl Write, value: &impl serde::Serialize) -> Result<Outcome, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
    writeln!(output, "{text}")?;
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_called_as_kubectl_calls_it() {
        for (started_as, called) in [
            ("/usr/local/bin/kubectl-strongroom", "kubectl strongroom"),
            ("kubectl-strongroom.exe", "kubectl strongroom"),
            ("/usr/local/bin/strongroom", "strongroom"),
            ("", "strongroom"),
        ] {
            assert_eq!(program(Some(OsStr::new(started_as))), called, "{started_as}");
        }
    }

    #[test]
    fn only_a_clear_yes_agrees() {
        for (answer, agrees) in [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("yep\n", false)] {
            let mut console =
                Console { input: answer.as_bytes(), output: vec![], asks: true, redraws: false, program: "strongroom" };
            assert_eq!(console.agrees("Create it?").unwrap(), agrees, "{answer:?}");
            assert_eq!(console.output, b"Create it? [y/N] ");
        }
    }
}

//! Fills a directory with everything that a volume may hold, or compares two: the cluster suite runs it on the node.
#![expect(clippy::print_stderr, reason = "a tool of the tests")]

use std::{env, path::Path, process::ExitCode};

mod tree;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["create", directory] => tree::create(Path::new(directory)),
        ["compare", one, other] => {
            let differences = tree::differences(Path::new(one), Path::new(other));
            for difference in differences.iter().take(20) {
                eprintln!("{difference}");
            }
            return if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        _ => {
            eprintln!("usage: tree create DIRECTORY | compare DIRECTORY DIRECTORY");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

//! `strongroom backup now`.

use std::{
    io::{self, BufRead, Write},
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};

use crate::{
    api::{annotations, backup::VolumeBackup, common},
    core::follow::{Follow, Line, Look, results},
};

use super::{Console, Failure, Outcome, cluster::ClusterArgs};

/// How often the object is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the operator may take to see that a run is asked for.
const UNSEEN: Duration = Duration::from_mins(1);
/// Back to the line's beginning, and nothing in it.
const CLEAR: &str = "\r\u{1b}[K";
/// What fits into a line of any terminal: a longer text would break, and only its end could be redrawn.
const WIDTH: usize = 79;

/// What `backup now` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The VolumeBackup.
    name: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Follow the run to its end.
    #[arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true
    )]
    wait: bool,
    /// Follow it no longer than this, such as 30m; the run goes on. Default: to its end.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<common::Duration>,
}

/// Asks for a run, and follows it.
pub(super) async fn run(args: Args, console: &mut Console<impl BufRead, impl Write>) -> Result<Outcome, Failure> {
    let cluster = args.cluster.connect().await?;
    let api = cluster.api::<VolumeBackup>();
    let token = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
    let wishes = [(annotations::REQUESTED_AT, token.as_str()), (annotations::FORCE_AT, token.as_str())];
    let backup = cluster.annotate(&api, &args.name, &wishes).await?;
    writeln!(console.output, "VolumeBackup {}/{}: a run is asked for", cluster.namespace, args.name)?;
    if !args.wait {
        return Ok(Outcome::Good);
    }
    let (mut follow, mut shown, start) = (Follow::new(&backup, &token), Shown::default(), Instant::now());
    loop {
        let backup = cluster.get(&api, &args.name).await?;
        let line = match follow.look(&backup) {
            Look::Goes(line) => line,
            Look::Unseen(line) if start.elapsed() < UNSEEN => line,
            Look::Unseen(_) => {
                shown.clear(console)?;
                return Err(Failure::new(format!(
                    "the operator has not seen the request within {} s: see whether it runs (kubectl get pods -A -l \
                     app.kubernetes.io/name=strongroom)",
                    UNSEEN.as_secs()
                )));
            }
            Look::Ended(records) => {
                shown.clear(console)?;
                let (lines, good) = results(&records);
                for line in lines {
                    writeln!(console.output, "{line}")?;
                }
                return Ok(if good { Outcome::Good } else { Outcome::Bad });
            }
            Look::Refused(why) => {
                shown.clear(console)?;
                return Err(Failure::new(format!("VolumeBackup {} does not run: {why}", args.name)));
            }
        };
        shown.show(console, line)?;
        if let Some(limit) = args.timeout.filter(|limit| start.elapsed() >= limit.as_std()) {
            shown.clear(console)?;
            return Err(Failure::new(format!("VolumeBackup {} has not ended within {limit}; it goes on", args.name)));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is on the screen.
#[derive(Default)]
struct Shown {
    key: Option<String>,
    /// Whether the last line can still be redrawn.
    open: bool,
}

impl Shown {
    /// One line, redrawn on a terminal; elsewhere, and where it is too long, a line whenever there is news.
    fn show(&mut self, console: &mut Console<impl BufRead, impl Write>, line: Line) -> io::Result<()> {
        if console.redraws && line.text.chars().count() <= WIDTH {
            write!(console.output, "{CLEAR}{}", line.text)?;
            console.output.flush()?;
            self.open = true;
        } else if self.key.as_ref() != Some(&line.key) {
            self.clear(console)?;
            writeln!(console.output, "{}", line.text)?;
            console.output.flush()?;
        }
        self.key = Some(line.key);
        Ok(())
    }

    /// Makes place for what follows.
    fn clear(&mut self, console: &mut Console<impl BufRead, impl Write>) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            write!(console.output, "{CLEAR}")?;
            console.output.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(redraws: bool) -> String {
        let mut console = Console { input: &b""[..], output: vec![], asks: false, redraws, program: "strongroom" };
        let mut shown = Shown::default();
        for (text, key) in
            [("Queued", "q"), ("BackingUp: 1 %", "b0"), ("BackingUp: 2 %", "b0"), ("BackingUp: 11 %", "b1")]
        {
            shown.show(&mut console, Line { text: text.to_owned(), key: key.to_owned() }).unwrap();
        }
        shown.clear(&mut console).unwrap();
        String::from_utf8(console.output).unwrap()
    }

    #[test]
    fn a_terminal_has_one_line_and_a_file_one_for_each_news() {
        assert_eq!(shown(false), "Queued\nBackingUp: 1 %\nBackingUp: 11 %\n");
        let redrawn = ["Queued", "BackingUp: 1 %", "BackingUp: 2 %", "BackingUp: 11 %", ""].join(CLEAR);
        assert_eq!(shown(true), format!("{CLEAR}{redrawn}"));
    }

    #[test]
    fn a_text_that_breaks_is_not_redrawn() {
        let mut console =
            Console { input: &b""[..], output: vec![], asks: false, redraws: true, program: "strongroom" };
        let (mut shown, long) = (Shown::default(), "x".repeat(WIDTH + 1));
        for text in ["short", &long, &long, "short"] {
            shown.show(&mut console, Line { text: text.to_owned(), key: text.to_owned() }).unwrap();
        }
        let expected = format!("{CLEAR}short{CLEAR}{long}\n{CLEAR}short");
        assert_eq!(String::from_utf8(console.output).unwrap(), expected);
    }
}

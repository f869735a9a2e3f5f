//! `strongroom snapshots`.

use std::io::{BufRead, Write};

use chrono::Utc;

use crate::{api::backup::VolumeBackup, core::history::History};

use super::{Console, Failure, Outcome, Output, cluster::ClusterArgs, json};

/// What `snapshots` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The VolumeBackup.
    name: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How it is written. Default: tables.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
}

/// Lists what the status knows.
pub(super) async fn run(args: Args, console: &mut Console<impl BufRead, impl Write>) -> Result<Outcome, Failure> {
    let cluster = args.cluster.connect().await?;
    let history = History::of(&cluster.get(&cluster.api::<VolumeBackup>(), &args.name).await?);
    if args.output == Some(Output::Json) {
        return json(&mut console.output, &history);
    }
    write!(console.output, "{}", history.text(Utc::now()))?;
    Ok(Outcome::Good)
}

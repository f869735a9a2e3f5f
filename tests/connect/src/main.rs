//! A development server that behaves like 1Password Connect 1.8, and an admin
//! side on another port that changes its data and injects faults while it
//! runs. For tests and demonstrations; it keeps everything in memory and
//! protects nothing.
//!
//! The way of a request: `conn` (the connection) → `server` (counted, given
//! to `faults`, logged) → `api` and `writes` (answered) → `state` (the data
//! as a pure state machine, with its past in `replica`). The admin side is
//! `admin`, which describes its requests, with `specs` and `seed`.

mod activity;
mod admin;
mod api;
mod category;
mod conn;
mod counts;
mod errors;
mod faults;
mod filter;
mod ids;
mod input;
mod model;
mod password;
mod patch;
mod replica;
mod route;
mod seed;
mod server;
mod specs;
mod state;
mod status;
mod tokens;
mod totp;
mod world;
mod writes;

use crate::{
    conn::{Connection, Numbered},
    seed::Seed,
    server::Shared,
    world::World,
};
use clap::Parser;
use std::{
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

/// How long requests may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(2);

/// A development server that behaves like 1Password Connect 1.8.
#[derive(Debug, Parser)]
struct Args {
    /// Where the Connect API listens.
    #[arg(long, env = "CONNECT_DEV_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where the admin side listens: no authentication.
    #[arg(long, env = "CONNECT_DEV_ADMIN", default_value = "0.0.0.0:8081")]
    admin: SocketAddr,
    /// A JSON document to start with, as for `POST /admin/seed`.
    #[arg(long, env = "CONNECT_DEV_SEED")]
    seed: Option<PathBuf>,
    /// A file to write once both sides listen: their addresses, one a line.
    #[arg(long, env = "CONNECT_DEV_READY_FILE")]
    ready_file: Option<PathBuf>,
    /// The largest file that is given inline, in KB (as the real server's
    /// variable).
    #[arg(long, env = "OP_MAX_INLINE_FILE_SIZE_KB", default_value_t = 100)]
    max_inline_kb: usize,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut world = World::new(args.max_inline_kb * 1024);
    if let Some(path) = &args.seed {
        plant(&mut world, path)?;
    }
    let shared = Shared::new(world);
    // Before anybody is told that we are ready: a signal to PID 1 is lost until someone waits for it.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (api, admin) = (TcpListener::bind(args.listen).await?, TcpListener::bind(args.admin).await?);
    let addresses = format!("{}\n{}\n", api.local_addr()?, admin.local_addr()?);
    tracing::info!(api = %api.local_addr()?, admin = %admin.local_addr()?, "listening");
    if let Some(path) = &args.ready_file {
        // Written aside and renamed, so that a reader never sees half of it.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, addresses)?;
        std::fs::rename(draft, path)?;
    }
    let (stop, stopped) = watch::channel(false);
    let ended = |mut stopped: watch::Receiver<bool>| async move {
        // The sender lives until the end; either way it is time to stop.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let api = axum::serve(
        Numbered::new(api),
        server::router(shared.clone()).into_make_service_with_connect_info::<Connection>(),
    )
    .with_graceful_shutdown(ended(stopped.clone()));
    let admin = axum::serve(admin, admin::router(shared)).with_graceful_shutdown(ended(stopped));
    let serving = async { tokio::try_join!(api, admin) };
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => {
            served?;
            return Ok(());
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.send_replace(true);
    // A hanging answer is one of the faults: it must not keep the process.
    if let Ok(served) = tokio::time::timeout(GRACE, serving).await {
        served?;
    }
    Ok(())
}

/// Puts the data of a seed file.
fn plant(world: &mut World, path: &Path) -> Result<(), Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let seed: Seed = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    seed.apply(world, chrono::Utc::now()).map_err(|refusal| format!("{}: {refusal:?}", path.display()))?;
    // The seed was always there: no replica is older than it.
    world.replica.forget();
    Ok(())
}

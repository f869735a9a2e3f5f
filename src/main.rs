//! The `strongroom` program: the controller, the mover, and the commands for people.

use std::{net::SocketAddr, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use strongroom::{
    controllers::run::{Settings, run},
    core::job::Image,
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// It gives back what was needed for a while, such as all items at a start, where the C library's keeps it: with 10,000
/// ExternalSecrets that is as much as they need themselves. How soon is said in the image's environment.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Keeps what Git cannot rebuild: a cluster's secrets and its data.
#[derive(Parser)]
#[command(name = "strongroom")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the operator.
    Controller(Box<ControllerArgs>),
    /// Runs what a Job was made for (started by the operator, not by people).
    Mover,
    /// What people do.
    #[cfg(feature = "cli")]
    #[command(flatten)]
    People(strongroom::cli::Command),
}

/// What the operator is told at its start.
#[derive(clap::Args)]
struct ControllerArgs {
    /// The operator's own namespace, in which data is moved.
    #[arg(long, env = "STRONGROOM_NAMESPACE", default_value = "strongroom-system")]
    namespace: String,
    /// Name of this controller in the Lease.
    #[arg(long, env = "STRONGROOM_IDENTITY", default_value = "strongroom")]
    identity: String,
    /// Image of the movers: the operator's own.
    #[arg(long, env = "STRONGROOM_IMAGE")]
    image: String,
    /// Pull policy of that image.
    #[arg(long, env = "STRONGROOM_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    image_pull_policy: String,
    /// Names of Secrets with registry credentials, for movers.
    #[arg(long, env = "STRONGROOM_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    image_pull_secrets: Vec<String>,
    /// URL of a Kubernetes API that asks for no credentials, as `kubectl proxy` serves it; without it, that of the
    /// cluster that the pod runs in.
    #[arg(long, env = "STRONGROOM_API_SERVER")]
    api_server: Option<axum::http::Uri>,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "STRONGROOM_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Movers of backups and restores at once in the cluster.
    #[arg(long, env = "STRONGROOM_MOVERS", default_value_t = 4)]
    movers: usize,
    /// Whether ExternalSecrets may ask for a restart of what uses their Secret.
    #[arg(long, env = "STRONGROOM_RESTART", default_value_t = true, action = clap::ArgAction::Set)]
    restart: bool,
    /// Whether VolumeBackups may have commands run in their apps' pods.
    #[arg(long, env = "STRONGROOM_HOOKS", default_value_t = false, action = clap::ArgAction::Set)]
    hooks: bool,
    /// Log as JSON instead of text.
    #[arg(long, env = "STRONGROOM_LOG_JSON")]
    log_json: bool,
}

impl From<ControllerArgs> for Settings {
    fn from(args: ControllerArgs) -> Self {
        Self {
            namespace: args.namespace,
            identity: args.identity,
            image: Image {
                name: args.image,
                pull_policy: args.image_pull_policy,
                pull_secrets: args.image_pull_secrets.into_iter().filter(|name| !name.is_empty()).collect(),
            },
            api_server: args.api_server,
            listen: args.listen,
            movers: args.movers,
            restart: args.restart,
            hooks: args.hooks,
        }
    }
}

fn main() -> ExitCode {
    let mut command = Cli::command();
    #[cfg(feature = "cli")]
    let program = strongroom::cli::program(std::env::args_os().next().as_deref());
    #[cfg(feature = "cli")]
    {
        command = command.bin_name(program);
    }
    let parsed = Cli::from_arg_matches(&command.get_matches_mut()).unwrap_or_else(|error| error.exit());
    match parsed.command {
        Command::Controller(args) => controller(*args),
        Command::Mover => mover(),
        #[cfg(feature = "cli")]
        Command::People(command) => people(command, program),
    }
}

/// Does what somebody asks for at a command line.
#[cfg(feature = "cli")]
fn people(command: strongroom::cli::Command, program: &'static str) -> ExitCode {
    use std::io::{IsTerminal, Write, stderr, stdin, stdout};

    use strongroom::cli::{Console, Failure, Outcome};

    let ready = rustls::crypto::ring::default_provider().install_default().is_ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (true, Ok(runtime)) = (ready, runtime) else { return ExitCode::FAILURE };
    let mut console = Console {
        input: stdin().lock(),
        output: stdout().lock(),
        asks: stdin().is_terminal() && stdout().is_terminal(),
        redraws: stdout().is_terminal(),
        program,
    };
    match runtime.block_on(strongroom::cli::run(command, &mut console)) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::FAILURE,
        // Whoever reads has seen enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(stderr(), "error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn controller(args: ControllerArgs) -> ExitCode {
    log(args.log_json);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::error!("a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    // One thread: it waits for others nearly all the time, and each thread costs memory.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(args.into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the controller ends");
            ExitCode::FAILURE
        }
    }
}

fn mover() -> ExitCode {
    log(false);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(strongroom::mover::run()),
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error, panics too; `RUST_LOG` says how much.
fn log(json: bool) {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter =
        wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO).with_target("kube", LevelFilter::WARN));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // Without the panic's own message, which may quote a value.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "the program fails here; please report it");
    }));
    let registry = tracing_subscriber::registry().with(filter);
    if json { registry.with(layer.json()).init() } else { registry.with(layer.with_ansi(false)).init() }
}

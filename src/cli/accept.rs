//! `strongroom accept`.

use std::io::{BufRead, Write};

use kube::Api;

use crate::{
    api::{
        annotations,
        backup::VolumeBackup,
        common::RepositoryKind,
        repository::{ClusterResticRepository, ResticRepository},
    },
    clients::cluster::Object,
    core::{
        confirm::{self, Kind, Question, Target},
        locks,
        repository::Subject,
        table::plain,
    },
};

use super::{
    Console, Failure, Outcome,
    cluster::{Cluster, ClusterArgs},
};

/// What `accept` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// KIND/NAME, or NAME alone where only one object of that name asks for something.
    #[arg(value_name = "KIND/NAME")]
    target: Target,
    /// The id that the condition names, where it asks for more than one thing.
    id: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Accept without a question.
    #[arg(short, long)]
    yes: bool,
}

/// An object and what it asks.
struct Asking {
    kind: Kind,
    questions: Vec<Question>,
}

/// Shows what is asked, and accepts it.
pub(super) async fn run(args: Args, console: &mut Console<impl BufRead, impl Write>) -> Result<Outcome, Failure> {
    let cluster = args.cluster.connect().await?;
    let asking = Box::pin(find(&cluster, &args.target)).await?;
    accept(&args, console, &cluster, asking).await
}

/// Shows whose locks are in the way, and has the next run remove them.
pub(super) async fn unlock(args: Args, console: &mut Console<impl BufRead, impl Write>) -> Result<Outcome, Failure> {
    let cluster = args.cluster.connect().await?;
    let mut asking = Box::pin(find(&cluster, &args.target)).await?;
    asking.questions.retain(|question| locks::is_of_locks(&question.id));
    if asking.questions.is_empty() {
        return Err(Failure::new(format!(
            "no lock was in the way of the last work of {}/{}",
            asking.kind.as_str(),
            args.target.name
        )));
    }
    accept(&args, console, &cluster, asking).await
}

async fn accept(
    args: &Args,
    console: &mut Console<impl BufRead, impl Write>,
    cluster: &Cluster,
    asking: Asking,
) -> Result<Outcome, Failure> {
    let name = &args.target.name;
    let object = format!("{}/{name}", asking.kind.as_str());
    if args.id.is_none() && asking.questions.len() > 1 {
        for question in &asking.questions {
            writeln!(console.output, "{}: {}", question.id, plain(&question.message))?;
        }
    }
    let chosen = confirm::choose(&object, &asking.questions, args.id.as_deref());
    let question = chosen.map_err(|error| Failure::new(error.to_string()))?;
    writeln!(console.output, "{object}: {}", plain(&question.message))?;
    if !args.yes {
        if !console.asks {
            return Err(Failure::new("nobody can be asked here: accept it with --yes"));
        }
        if !console.agrees(&format!("Accept {}?", question.id))? {
            writeln!(console.output, "{object}: nothing is accepted")?;
            return Ok(Outcome::Bad);
        }
    }
    Box::pin(annotate(cluster, asking.kind, name, &question.id)).await?;
    writeln!(console.output, "{object}: {} is accepted", question.id)?;
    Ok(Outcome::Good)
}

/// The object that is meant: of the kind that was named, or the only one of that name that asks for something.
async fn find(cluster: &Cluster, target: &Target) -> Result<Asking, Failure> {
    let name = &target.name;
    let kinds = target.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
    let mut found = vec![];
    for kind in kinds {
        let questions = Box::pin(questions(cluster, kind, name)).await;
        let questions =
            questions.map_err(|error| cluster.failure(&format!("read {} {name}", kind.as_str()), &error))?;
        found.extend(questions.map(|questions| Asking { kind, questions }));
    }
    let asking = found.iter().filter(|of| !of.questions.is_empty()).count();
    if asking > 1 {
        let kinds: Vec<_> = found.iter().map(|of| format!("{}/{name}", of.kind.as_str())).collect();
        return Err(Failure::new(format!("more than one object asks for something: name {}", kinds.join(" or "))));
    }
    // The one that asks, before those that do not.
    found.sort_by_key(|of| of.questions.is_empty());
    found.into_iter().next().ok_or_else(|| {
        let kind = target.kind.map_or("VolumeBackup or repository object", Kind::as_str);
        Failure::new(format!("there is no {kind} {name} (in namespace {}, where it has one)", cluster.namespace))
    })
}

/// What an object asks; none where there is none.
async fn questions(cluster: &Cluster, kind: Kind, name: &str) -> Result<Option<Vec<Question>>, kube::Error> {
    let of_repository = |subject: Subject| confirm::of_repository(&subject);
    Ok(match kind {
        Kind::Backup => {
            let backup = cluster.api::<VolumeBackup>().get_opt(name).await?;
            backup.map(|backup| confirm::of_backup(&backup))
        }
        Kind::Repository(RepositoryKind::ResticRepository) => {
            let found = cluster.api::<ResticRepository>().get_opt(name).await?;
            found.map(|found| of_repository(Subject::from(&found)))
        }
        Kind::Repository(RepositoryKind::ClusterResticRepository) => {
            let found = cluster.api_all::<ClusterResticRepository>().get_opt(name).await?;
            found.map(|found| of_repository(Subject::from(&found)))
        }
    })
}

async fn annotate(cluster: &Cluster, kind: Kind, name: &str, id: &str) -> Result<(), Failure> {
    async fn one<K: Object>(cluster: &Cluster, api: Api<K>, name: &str, id: &str) -> Result<(), Failure> {
        cluster.annotate(&api, name, &[(annotations::ACCEPT, id)]).await.map(drop)
    }
    match kind {
        Kind::Backup => one::<VolumeBackup>(cluster, cluster.api(), name, id).await,
        Kind::Repository(RepositoryKind::ResticRepository) => {
            one::<ResticRepository>(cluster, cluster.api(), name, id).await
        }
        Kind::Repository(RepositoryKind::ClusterResticRepository) => {
            one::<ClusterResticRepository>(cluster, cluster.api_all(), name, id).await
        }
    }
}

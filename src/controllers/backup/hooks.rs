//! Runs commands in an app's pod, and sees to it that none is forgotten.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{
    api::backup::{VolumeBackup, VolumeBackupStatus},
    clients::{cluster, exec},
    core::{
        backup::{self, Exec, Executed, Step},
        problem::Problem,
    },
};

use super::Look;

/// How often what came of a command is entered anew, where the object was changed meanwhile.
const TRIES: usize = 10;

impl Look<'_> {
    /// Writes what is about to be done, runs a command and enters what came of it. After how long it is looked at again,
    /// where there is nothing more to do now.
    pub(super) async fn exec(
        &mut self,
        intent: Option<Box<VolumeBackupStatus>>,
        exec: &Exec,
    ) -> Result<Option<Duration>, Problem> {
        if let Some(status) = intent
            && !self.write(*status, None).await?
        {
            return Ok(Some(Duration::from_secs(1)));
        }
        let outcome = run(&self.ctx.client, exec).await;
        for _ in 0..TRIES {
            match backup::executed(&self.backup, exec, &outcome, self.ctx.now()) {
                Step::Write(status, note) => {
                    if self.write(*status, note).await? {
                        return Ok(None);
                    }
                }
                Step::Wait(wait) => return Ok(Some(wait)),
                _ => return Ok(None),
            }
            match cluster::get(&self.api, &self.backup.name_any()).await? {
                Some(found) if found.uid() == self.backup.uid() => self.backup = found,
                _ => {
                    tokio::spawn(release(self.ctx.client.clone(), self.backup.clone()));
                    break;
                }
            }
        }
        Ok(Some(Duration::from_secs(1)))
    }
}

async fn run(client: &Client, exec: &Exec) -> Executed {
    let outcome = exec::run(client, exec).await;
    match &outcome {
        Executed::Succeeded => tracing::info!(namespace = exec.namespace, "{} was run", exec.title),
        Executed::Failed(words) | Executed::NotRun(words) => {
            tracing::warn!(namespace = exec.namespace, "{} {words}", exec.title);
        }
    }
    outcome
}

/// The pods of the app's namespace.
pub(super) async fn pods(client: &Client, backup: &VolumeBackup) -> Result<Vec<Pod>, Problem> {
    let namespace = backup.namespace().unwrap_or_default();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await;
    pods.map(|pods| pods.items).map_err(|error| cluster::problem::<Pod>("list those of", &namespace, &error))
}

/// Lets the app of a VolumeBackup that was deleted in the middle of a run go on, as well as it can be done: nobody
/// would try it again.
pub(super) async fn release(client: Client, backup: VolumeBackup) {
    match pods(&client, &backup).await {
        Ok(pods) => {
            for exec in backup::owed_hooks(&backup, &pods) {
                run(&client, &exec).await;
            }
        }
        Err(problem) => tracing::warn!(%problem, "hooks.after of a deleted VolumeBackup cannot be run"),
    }
}

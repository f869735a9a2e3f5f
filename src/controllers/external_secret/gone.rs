//! What is done when nothing is left of what a Secret was made of (`deletionPolicy`).

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, runtime::events::EventType};

use super::{
    look::Look,
    sources::{Missing, Resolution, Yields, prove_gone},
};
use crate::{
    clients::cluster,
    core::{
        problem::{Problem, Reason},
        secret::{self, Claim, Suspect},
    },
};

impl Look<'_> {
    /// Leaves out the entries whose items are there while no label of them matches, once it is proven that items which
    /// the Secret was made of are gone. Nothing where each entry has something; else the items that are gone.
    pub(super) async fn leave_unmatched(
        &self,
        resolution: &Resolution,
        fetched: &mut Yields,
    ) -> Result<Option<Unmatched>, Problem> {
        let Self { object, ctx, .. } = self;
        let Some(wanted) = secret::unmatched(object, &fetched.yields).cloned() else { return Ok(None) };
        let problem = secret::nothing(&wanted);
        let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
        let source = resolution.resolved.iter().find(|resolved| resolved.wanted == wanted);
        let made = binding.is_some_and(|binding| binding.generation == object.metadata.generation);
        let (Some(known), Some(resolved)) = (self.known.as_ref().filter(|_| made), source) else {
            let gone = binding.is_some_and(|_| made && self.known.is_none());
            // Nothing was ever made of what is declared now, or it has been deleted.
            return Err(if gone { self.nothing_left(problem) } else { problem });
        };
        let missing = [Missing { wanted, source: resolved.source.clone(), problem: problem.clone() }];
        let gone = prove_gone(ctx, &resolution.found(), &missing, &known.items).await?;
        fetched.yields.retain(|(_, values)| !values.is_empty());
        Ok(Some(Unmatched { gone, problem, nothing: fetched.yields.is_empty() }))
    }

    /// Deletes the Secret, whose items are all gone.
    pub(super) async fn delete(&self) -> Result<(), Problem> {
        let Self { object, ctx, .. } = self;
        let api: Api<Secret> = ctx.api(&object.namespace().unwrap_or_default());
        let name = secret::target_name(object);
        let Some(live) = cluster::get(&api, name).await? else { return Ok(()) };
        let (alive, has_eso) = (|uid: &str| ctx.stores.is_declared(uid), ctx.takeover.may_be_there());
        let is_ours = secret::claim(Some(&live.metadata), object, alive, has_eso)? == Claim::Ours;
        if is_ours && secret::owns(&live.metadata, object) {
            cluster::delete(&api, &live).await?;
            let note = format!("Secret {name} was deleted: its items are gone (deletionPolicy Delete)");
            ctx.event(&secret::reference(object), EventType::Normal, "Deleted", note).await;
        }
        Ok(())
    }

    /// Why there is no Secret, or nothing of this object in it.
    pub(super) fn nothing_left(&self, problem: Problem) -> Problem {
        let bound = self.object.status.as_ref().is_some_and(|status| status.binding.is_some());
        let name = secret::target_name(self.object);
        if bound { secret::after_deletion(self.object, name, &problem) } else { problem }
    }
}

/// Entries whose items are there while no label of them matches.
pub(super) struct Unmatched {
    /// The items that the Secret was made of and that are gone.
    pub(super) gone: Vec<Suspect>,
    /// Why there is nothing.
    pub(super) problem: Problem,
    /// Whether no entry has anything.
    pub(super) nothing: bool,
}

/// Why something is missing.
pub(super) fn first(missing: &[Missing]) -> Problem {
    let none = || Problem::new(Reason::NoMatch, "nothing matches");
    missing.first().map_or_else(none, |missing| missing.problem.clone())
}

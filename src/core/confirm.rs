//! What an object asks somebody to confirm, read from what its conditions say.

use std::str::FromStr;

use crate::{
    api::{
        backup::{RunResult, VolumeBackup},
        common::RepositoryKind,
    },
    core::{
        backup::{self, LAST_RUN, OTHER_WRITER},
        conditions,
        repository::Subject,
    },
};

/// Something that waits until it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What accepts it, in the annotation `strongroom.dev/accept`.
    pub id: String,
    /// What is asked, for people.
    pub message: String,
}

/// What a `VolumeBackup` asks: whether a history may go elsewhere, whether another repository is right, whether there
/// may be so little, whether another program has stopped to write there.
pub fn of_backup(backup: &VolumeBackup) -> Vec<Question> {
    let Some(status) = &backup.status else { return vec![] };
    let ready = conditions::get(&status.conditions, conditions::READY);
    let of_repositories =
        |type_| status.repositories.iter().filter_map(move |of| conditions::get(&of.conditions, type_));
    let last = of_repositories(LAST_RUN).chain(of_repositories(OTHER_WRITER));
    let suspects = status.runs.iter().filter(|record| record.result == RunResult::Suspect);
    let messages = ready.into_iter().chain(last).map(|condition| &condition.message);
    questions(messages.chain(suspects.filter_map(|record| record.message.as_ref())), |message| {
        backup::asked_to_accept(backup, message)
    })
}

/// What a repository object asks: whether its base may be created, whether another one is right, whether locks that are
/// in the way of its maintenance may go.
pub fn of_repository(subject: &Subject) -> Vec<Question> {
    let status = &subject.status;
    let ready = conditions::get(&status.conditions, conditions::READY).map(|condition| &condition.message);
    let chores = status.last_maintenance.iter().chain(&status.last_check).map(|last| &last.message);
    questions(ready.into_iter().chain(chores), |message| subject.asked_to_accept(message))
}

/// Each id once, with the first message that asks for it.
fn questions<'a>(messages: impl Iterator<Item = &'a String>, id: impl Fn(&'a str) -> Option<&'a str>) -> Vec<Question> {
    let mut found: Vec<Question> = vec![];
    for message in messages {
        let Some(id) = id(message).filter(|id| !found.iter().any(|known| known.id == *id)) else { continue };
        found.push(Question { id: id.to_owned(), message: message.clone() });
    }
    found
}

/// The kinds that ask something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `VolumeBackup`.
    Backup,
    /// Either kind of repository object.
    Repository(RepositoryKind),
}

impl Kind {
    /// Every one, in the order in which a name without a kind is looked for.
    pub const ALL: [Self; 3] = [
        Self::Repository(RepositoryKind::ClusterResticRepository),
        Self::Repository(RepositoryKind::ResticRepository),
        Self::Backup,
    ];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => backup::KIND,
            Self::Repository(kind) => kind.as_str(),
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Backup => "volumebackups",
            Self::Repository(RepositoryKind::ResticRepository) => "resticrepositories",
            Self::Repository(RepositoryKind::ClusterResticRepository) => "clusterresticrepositories",
        }
    }
}

/// An object as it is named on a command line: `NAME`, or `KIND/NAME` as kubectl writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind, where it is named.
    pub kind: Option<Kind>,
    /// The name.
    pub name: String,
}

/// Why a text names no object that asks something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// No such kind.
    #[error(
        "{0} never asks for anything: write VolumeBackup/NAME, ResticRepository/NAME or ClusterResticRepository/NAME"
    )]
    Kind(String),
    /// No name.
    #[error("the name is missing: write KIND/NAME, or NAME alone")]
    Name,
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((word, name)) => {
                // The group may follow, as in what `kubectl get -o name` prints.
                let plain = word.split('.').next().unwrap_or_default().to_lowercase();
                let fits = |kind: &&Kind| plain == kind.plural() || plain == kind.as_str().to_lowercase();
                let kind = Kind::ALL.iter().find(fits).ok_or_else(|| InvalidTarget::Kind(word.to_owned()))?;
                (Some(*kind), name)
            }
        };
        if name.is_empty() { Err(InvalidTarget::Name) } else { Ok(Self { kind, name: name.to_owned() }) }
    }
}

/// Why nothing can be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// Nothing waits for it.
    #[error("{0} asks for nothing")]
    Nothing(String),
    /// Not that.
    #[error("{0} does not ask to accept {1}; it asks for: {2}")]
    Other(String, String, String),
    /// Which of them?
    #[error("{0} asks for more than one thing: name one of {1}")]
    Several(String, String),
}

/// What is accepted: what has this id, or the only one. `object` names the object in messages.
pub fn choose<'a>(object: &str, questions: &'a [Question], id: Option<&str>) -> Result<&'a Question, NoChoice> {
    let object = object.to_owned();
    let ids = || questions.iter().map(|question| question.id.as_str()).collect::<Vec<_>>().join(", ");
    match (questions, id) {
        ([], _) => Err(NoChoice::Nothing(object)),
        (_, Some(id)) => {
            let found = questions.iter().find(|question| question.id == id);
            found.ok_or_else(|| NoChoice::Other(object, id.to_owned(), ids()))
        }
        ([only], None) => Ok(only),
        (_, None) => Err(NoChoice::Several(object, ids())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: &str) -> Question {
        Question { id: id.to_owned(), message: format!("may it? {id}") }
    }

    #[test]
    fn an_object_is_named_as_kubectl_does() {
        let parsed = |text: &str| text.parse::<Target>().map(|target| (target.kind.map(Kind::as_str), target.name));
        for text in ["VolumeBackup/app", "volumebackups/app", "volumebackup.strongroom.dev/app"] {
            assert_eq!(parsed(text), Ok((Some("VolumeBackup"), "app".to_owned())), "{text}");
        }
        assert_eq!(parsed("resticrepositories/a"), Ok((Some("ResticRepository"), "a".to_owned())));
        assert_eq!(parsed("clusterresticrepository/a"), Ok((Some("ClusterResticRepository"), "a".to_owned())));
        assert_eq!(parsed("app"), Ok((None, "app".to_owned())));
        assert_eq!(parsed("pod/app"), Err(InvalidTarget::Kind("pod".to_owned())));
        assert_eq!(parsed("volumebackup/"), Err(InvalidTarget::Name));
    }

    #[test]
    fn what_is_accepted_was_asked() {
        let (one, two) = ([question("aa")], [question("aa"), question("bb")]);
        assert_eq!(choose("VolumeBackup/app", &one, None), Ok(&one[0]));
        assert_eq!(choose("VolumeBackup/app", &two, Some("bb")), Ok(&two[1]));
        let wrong = [(&[][..], None), (&one, Some("cc")), (&two, Some("cc")), (&two, None)];
        let said = wrong.map(|(questions, id)| choose("VolumeBackup/app", questions, id).unwrap_err().to_string());
        insta::assert_debug_snapshot!(said);
    }
}

//! Another program, or another cluster, that writes the same history: its snapshots, newer than ours and without the tags
//! of our runs.

use chrono::{SecondsFormat, TimeDelta};

use crate::{
    api::common::Time,
    core::{
        names,
        restic::messages::Snapshot,
        task::{CLUSTER_TAG, Held, History, MaintainTask, Others, RUN_TAG, Watch, Written},
    },
};

/// So long another program counts as one that still writes: longer than a week, for one that writes once in a week.
const WINDOW: TimeDelta = TimeDelta::days(8);
/// What the id begins with that accepts what another program wrote until a time.
const UNTIL: &str = "written-until-";
/// The identity that VolSync gives to everything.
const VOLSYNC: (&str, &str) = ("volsync", "/data");

/// What another program wrote last into the history of a host and a path, since it is ours.
///
/// Snapshots from before our first one are a history that is continued. Those that are too old, and those that
/// someone accepted, are past.
pub fn find(snapshots: &[Snapshot], host: &str, path: &str, watch: &Watch, now: Time) -> Others {
    let history = || snapshots.iter().filter(|snapshot| snapshot.is_of(host, path));
    let of_strongroom = |snapshot: &Snapshot| snapshot.tag(RUN_TAG).is_some();
    // Those of before there was such a tag have none.
    let of_cluster = |snapshot: &Snapshot| snapshot.tag(CLUSTER_TAG).is_none_or(|cluster| cluster == watch.cluster);
    let ours = |snapshot: &&Snapshot| of_strongroom(snapshot) && of_cluster(snapshot);
    let first = history().filter(ours).map(|snapshot| snapshot.time).chain(watch.since).min();
    let counts = |snapshot: &&Snapshot| {
        let accepted = watch.accepted.is_some_and(|until| snapshot.time.timestamp() <= until.timestamp());
        let later = first.is_some_and(|first| snapshot.time > first);
        !ours(snapshot) && !accepted && later && now - snapshot.time < WINDOW
    };
    let newest = history().filter(counts).max_by_key(|snapshot| snapshot.time);
    newest.map_or(Others::None, |newest| {
        let (snapshot, time) = (newest.short_id().to_owned(), newest.time);
        Others::Wrote(Written { snapshot, time, cluster: of_strongroom(newest) })
    })
}

/// Takes the histories out of which nothing may be forgotten, since another program writes them too; the first of them.
pub fn hold(snapshots: &[Snapshot], task: &MaintainTask, now: Time) -> (MaintainTask, Option<Held>) {
    let (mut task, mut held) = (task.clone(), None);
    task.histories.retain(|history| match find(snapshots, &history.host, &history.path, &history.watch, now) {
        Others::None => true,
        Others::Wrote(written) => {
            let History { host, path, backup, .. } = history.clone();
            held.get_or_insert(Held { host, path, backup, written });
            false
        }
    });
    (task, held)
}

/// Until when someone accepted what another program wrote, by the annotation's value.
pub fn accepted(value: &str) -> Option<Time> {
    value.strip_prefix(UNTIL)?.parse().ok()
}

/// What is so, and what is to be done about it. `backup` is namespace and name of the `VolumeBackup`.
pub fn words(url: &str, (host, path): (&str, &str), (namespace, name): (&str, &str), written: &Written) -> String {
    let time = written.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let command = names::accept_command("volumebackup", Some(namespace), name, &format!("{UNTIL}{time}"));
    let (who, stop) = if written.cluster {
        let stop = "suspend this VolumeBackup in one of the two, or give the clusters places of their own with \
                    {{ cluster }} in the repository object's url or identity";
        ("the Strongroom of another cluster", stop)
    } else if (host, path) == VOLSYNC {
        let stop = "delete the ReplicationSource whose Secret has this URL (kubectl get replicationsources -A), or \
                    suspend this VolumeBackup";
        ("VolSync", stop)
    } else {
        ("another program", "stop it, or give the repository object another identity")
    };
    format!(
        "{who} writes the same history of host {host} and path {path} at {url}: its snapshot {} of {time} came after our \
         first one. Each of the two forgets what the other needs, so nothing of it is forgotten here meanwhile: {stop}. \
         Once that is done, accept what was written: {command}",
        written.snapshot
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::Retention;

    fn snapshot(id: &str, time: &str, tags: &[&str]) -> Snapshot {
        Snapshot {
            id: id.repeat(8),
            time: time.parse().unwrap(),
            hostname: "volsync".to_owned(),
            paths: vec!["/data".to_owned()],
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            summary: None,
        }
    }

    fn now() -> Time {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    fn found(snapshots: &[Snapshot], watch: &Watch) -> Option<String> {
        match find(snapshots, "volsync", "/data", watch, now()) {
            Others::None => None,
            Others::Wrote(written) => Some(written.snapshot),
        }
    }

    #[test]
    fn a_history_that_is_continued_has_no_other_writer() {
        let theirs = [
            snapshot("1", "2026-11-20T00:00:00Z", &[]),
            snapshot("2", "2026-11-25T00:00:00Z", &[]),
            snapshot("3", "2026-11-26T00:00:00Z", &["someone=else"]),
        ];
        assert_eq!(found(&[], &Watch::default()), None);
        assert_eq!(found(&theirs, &Watch::default()), None, "nothing of ours yet");
        let mut both = theirs.to_vec();
        both.push(snapshot("4", "2026-11-27T00:00:00Z", &["run=radarr-1"]));
        assert_eq!(found(&both, &Watch::default()), None, "all of them are older than ours");
    }

    #[test]
    fn what_is_newer_than_our_first_one_is_another_writers_until_accepted_or_old() {
        let ours = snapshot("1", "2026-11-10T00:00:00Z", &["run=radarr-1"]);
        let later = snapshot("2", "2026-11-26T00:00:00.7Z", &["root=755:0:0"]);
        let again = snapshot("3", "2026-11-27T00:00:00Z", &["run=radarr-2"]);
        let list = [ours, later.clone(), again.clone()];
        assert_eq!(found(&list, &Watch::default()).as_deref(), Some("22222222"));
        let time = |text: &str| -> Option<Time> { Some(text.parse().unwrap()) };
        let accepted = |text| Watch { accepted: time(text), ..Watch::default() };
        assert_eq!(found(&list, &accepted("2026-11-25T23:59:59Z")).as_deref(), Some("22222222"));
        assert_eq!(found(&list, &accepted("2026-11-26T00:00:00Z")), None, "times are in whole seconds");
        // Where the other one has forgotten our first snapshots, it is known that there were some.
        let left = [later, again];
        assert_eq!(found(&left, &Watch::default()), None);
        assert!(found(&left, &Watch { since: time("2026-11-10T00:00:00Z"), ..Watch::default() }).is_some());
        let old = [snapshot("1", "2026-11-01T00:00:00Z", &["run=a"]), snapshot("2", "2026-11-19T12:00:00Z", &[])];
        assert_eq!(found(&old, &Watch::default()), None, "it has stopped");
        let mut elsewhere = list;
        elsewhere[1].paths = vec!["/data/radarr".to_owned()];
        assert_eq!(found(&elsewhere, &Watch::default()), None);
    }

    #[test]
    fn another_cluster_is_another_writer_once_both_write() {
        let of = |id: &str, time: &str, cluster: &str| snapshot(id, time, &["run=radarr-1", cluster]);
        let written = |list: &[Snapshot], cluster: &str| {
            let watch = Watch { cluster: cluster.to_owned(), ..Watch::default() };
            find(list, "volsync", "/data", &watch, now())
        };
        let old = snapshot("1", "2026-11-24T00:00:00Z", &["run=radarr-1"]);
        let list = [old, of("2", "2026-11-25T00:00:00Z", "cluster=a"), of("3", "2026-11-26T00:00:00Z", "cluster=b")];
        assert_eq!(written(&list[..2], "a"), Others::None);
        assert!(
            matches!(written(&list, "a"), Others::Wrote(written) if written.cluster && written.snapshot == "33333333")
        );
        // Built anew, a cluster goes on with what the one before it wrote.
        assert_eq!(written(&list[1..], "b"), Others::None);
    }

    #[test]
    fn nothing_is_forgotten_of_a_history_that_another_program_writes() {
        let history = |path: &str| History {
            host: "volsync".to_owned(),
            path: path.to_owned(),
            retention: Retention { last: Some(1), ..Retention::default() },
            ..History::default()
        };
        let task = MaintainTask { histories: vec![history("/data"), history("/other")], ..MaintainTask::default() };
        let mut list = vec![
            snapshot("1", "2026-11-25T00:00:00Z", &["run=a"]),
            snapshot("2", "2026-11-26T00:00:00Z", &[]),
            snapshot("3", "2026-11-27T00:00:00Z", &["run=b"]),
        ];
        let (left, held) = hold(&list, &task, now());
        assert_eq!(left.histories, [history("/other")]);
        assert_eq!(held.map(|held| (held.path, held.written.snapshot)), Some(("/data".into(), "22222222".into())));
        list.remove(1);
        assert_eq!(hold(&list, &task, now()), (task, None));
    }

    #[test]
    fn words_name_who_and_what_to_do_and_are_read_back() {
        let time: Time = "2026-11-26T00:00:00.7Z".parse().unwrap();
        let texts = [("volsync", "/data", false), ("media", "/data/radarr", false), ("media", "/data/radarr", true)]
            .map(|(host, path, cluster)| {
                let written = Written { snapshot: "22222222".to_owned(), time, cluster };
                words("rest:http://nas/radarr", (host, path), ("media", "radarr"), &written)
            });
        for text in &texts {
            let id = names::asked_to_accept(text, "volumebackup", Some("media"), "radarr").unwrap();
            assert_eq!(accepted(id).unwrap().timestamp(), time.timestamp());
        }
        assert_eq!(accepted("a1b2c3d4"), None);
        assert_eq!(accepted("written-until-tomorrow"), None);
        insta::assert_snapshot!(texts.join("\n"));
    }
}

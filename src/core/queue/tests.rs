use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

fn key(name: &str) -> RepositoryKey {
    RepositoryKey { kind: RepositoryKind::ClusterResticRepository, name: name.to_owned() }
}

fn at(minute: i64) -> Time {
    "2026-11-03T00:00:00Z".parse::<Time>().unwrap() + chrono::Duration::minutes(minute)
}

fn waits(uid: &str, namespace: &str, urgency: Urgency, minute: i64) -> Waiting {
    let repositories = if urgency == Urgency::Restore { vec![] } else { vec![(key("nas"), 2)] };
    Waiting { uid: uid.into(), namespace: namespace.into(), urgency, since: at(minute), repositories }
}

fn runs(uid: &str, namespace: &str, repository: &str) -> Running {
    Running { uid: uid.into(), namespace: namespace.into(), repositories: vec![key(repository)] }
}

#[test]
fn the_order_is_by_urgency_then_fair_then_by_time() {
    let uids = |running: &[Running], waiting: &[Waiting], minute| -> Vec<String> {
        order(running, waiting, at(minute)).into_iter().map(|of| of.uid.clone()).collect()
    };
    let waiting = [
        waits("a1", "a", Urgency::Scheduled, 0),
        waits("a2", "a", Urgency::Scheduled, 1),
        waits("a3", "a", Urgency::Scheduled, 2),
        waits("b1", "b", Urgency::Scheduled, 3),
        waits("c1", "c", Urgency::Manual, 4),
        waits("d1", "d", Urgency::Restore, 5),
    ];
    assert_eq!(uids(&[], &waiting, 6), ["d1", "c1", "a1", "b1", "a2", "a3"]);
    assert_eq!(uids(&[runs("x", "a", "nas")], &waiting, 6), ["d1", "c1", "b1", "a1", "a2", "a3"]);
    // Who waits for an hour goes before those whom somebody asked for, but not before a restore.
    assert_eq!(uids(&[runs("x", "a", "nas")], &waiting, 61), ["d1", "a1", "a2", "c1", "b1", "a3"]);
}

#[test]
fn repositories_of_one_name_in_two_namespaces_are_two() {
    let own = RepositoryKey { kind: RepositoryKind::ResticRepository, name: "own".to_owned() };
    let running = |namespace: &str| Running { repositories: vec![own.clone()], ..runs("x", namespace, "") };
    let waiting = [Waiting { repositories: vec![(own.clone(), 1)], ..waits("a", "a", Urgency::Scheduled, 0) }];
    assert_eq!(turn("a", &[running("b")], &waiting, 9, at(1)), Ok(()));
    assert_eq!(turn("a", &[running("a")], &waiting, 9, at(1)), Err(Full::Repository("own".into(), 1)));
}

#[test]
fn limits_hold_and_say_why() {
    let waiting = [waits("a", "a", Urgency::Scheduled, 0), waits("b", "b", Urgency::Scheduled, 1)];
    let nas = |count: usize| (0..count).map(|n| runs(&n.to_string(), "x", "nas")).collect::<Vec<_>>();
    assert_eq!(turn("a", &nas(0), &waiting, 2, at(2)), Ok(()));
    assert_eq!(turn("b", &nas(0), &waiting, 2, at(2)), Ok(()));
    assert_eq!(turn("b", &nas(1), &waiting, 2, at(2)), Err(Full::Turn(1)));
    assert_eq!(turn("a", &nas(2), &waiting, 2, at(2)), Err(Full::Cluster(2)));
    assert_eq!(turn("a", &nas(2), &waiting, 9, at(2)), Err(Full::Repository("nas".into(), 2)));
    // One goes first in the same repository.
    assert_eq!(turn("b", &nas(1), &waiting, 9, at(2)), Err(Full::Repository("nas".into(), 2)));
    // What cannot start keeps nobody else.
    let mut other = waits("c", "c", Urgency::Scheduled, 5);
    other.repositories = vec![(key("s3"), 1)];
    let waiting = [waiting[0].clone(), waiting[1].clone(), other];
    assert_eq!(turn("c", &nas(2), &waiting, 3, at(6)), Ok(()));
    for full in [Full::Cluster(2), Full::Repository("nas".into(), 2), Full::Turn(3)] {
        assert!(!full.to_string().is_empty());
    }
}

#[test]
fn what_needs_several_repositories_is_not_always_overtaken() {
    let mut both = waits("both", "a", Urgency::Scheduled, 0);
    both.repositories = vec![(key("nas"), 1), (key("s3"), 1)];
    let mut one = waits("one", "b", Urgency::Scheduled, 30);
    one.repositories = vec![(key("s3"), 1)];
    let (running, waiting) = ([runs("x", "x", "nas")], [both, one]);
    assert_eq!(turn("one", &running, &waiting, 9, at(59)), Ok(()));
    assert_eq!(turn("one", &running, &waiting, 9, at(60)), Err(Full::Repository("s3".into(), 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A herd: whoever asks, however often and in whatever order, limits hold and all have their turn.
    #[test]
    fn a_herd_runs_within_its_limits_to_the_last_one(
        herd in vec((0_usize..5, 0_usize..3, 0_usize..3, 1_i64..9), 1..40),
        limit in 1_usize..6,
        limits in (1_usize..4, 1_usize..4),
        seed in any::<u64>(),
    ) {
        let repositories = [vec![(key("nas"), limits.0)], vec![(key("s3"), limits.1)],
                            vec![(key("nas"), limits.0), (key("s3"), limits.1)]];
        let urgencies = [Urgency::Restore, Urgency::Manual, Urgency::Scheduled];
        let mut waiting: Vec<Waiting> = herd.iter().enumerate().map(|(n, (namespace, repository, urgency, _))| {
            let mut of = waits(&format!("u{n}"), &format!("n{namespace}"), urgencies[*urgency], 0);
            if of.urgency != Urgency::Restore { of.repositories = repositories[*repository].clone(); }
            of
        }).collect();
        let (mut running, mut ends): (Vec<Running>, HashMap<String, i64>) = (vec![], HashMap::new());
        let (mut minute, mut chance) = (0, seed);
        while !waiting.is_empty() {
            prop_assert!(minute < 9 * 40 + 1, "{} wait for ever", waiting.len());
            running.retain(|of| ends[&of.uid] > minute);
            for _ in 0..waiting.len() {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let Some(index) = usize::try_from(chance >> 33).unwrap().checked_rem(waiting.len()) else { break };
                if turn(&waiting[index].uid, &running, &waiting, limit, at(minute)).is_ok() {
                    let of = waiting.swap_remove(index);
                    let n: usize = of.uid[1..].parse().unwrap();
                    ends.insert(of.uid.clone(), minute + herd[n].3);
                    let repositories = of.repositories.into_iter().map(|(key, _)| key).collect();
                    running.push(Running { uid: of.uid, namespace: of.namespace, repositories });
                    prop_assert!(running.len() <= limit);
                    for (name, limit) in [("nas", limits.0), ("s3", limits.1)] {
                        let into = running.iter().filter(|of| of.repositories.contains(&key(name))).count();
                        prop_assert!(into <= limit, "{into} run into {name}");
                    }
                }
            }
            // While places are free and nothing runs, somebody has the turn.
            if running.is_empty() {
                let has_turn = |of: &Waiting| turn(&of.uid, &running, &waiting, limit, at(minute)).is_ok();
                prop_assert!(waiting.is_empty() || waiting.iter().any(has_turn));
            }
            minute += 1;
        }
    }
}

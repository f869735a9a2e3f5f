use super::*;

const PHASES: [RestorePhase; 4] =
    [RestorePhase::Restoring, RestorePhase::Stopping, RestorePhase::Swapping, RestorePhase::Starting];

fn scenarios() -> impl Strategy<Value = Scenario> {
    let fate = || prop_oneof![4 => Just(Fate::Good), 1 => Just(Fate::LaterGood), 1 => Just(Fate::Bad)];
    let kind = prop_oneof![Just(Kind::Deployment), Just(Kind::StatefulSet)];
    let policy = prop_oneof![Just(DELETE), Just(RETAIN)];
    let choices = proptest::collection::vec(any::<u8>(), 0..400);
    let deleted_in = proptest::option::of(proptest::sample::select(&PHASES[..]));
    let fates = (fate(), fate(), proptest::bool::weighted(0.15), deleted_in);
    (kind, 1..=2_usize, policy, any::<bool>(), fates, choices).prop_map(
        |(kind, claims, policy, deletes_claims, (resolve, restore, pod_never_ends, deleted_in), choices)| Scenario {
            kind,
            replicas: 1,
            claims,
            policy,
            deletes_claims,
            resolve,
            restore,
            pod_never_ends,
            deleted_in,
            choices,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_app_ends_as_it_was_on_new_data_or_old(scenario in scenarios()) {
        let mut world = World::new(scenario);
        world.run();
        world.check();
    }
}

fn calm(kind: Kind, claims: usize) -> Scenario {
    Scenario {
        kind,
        replicas: 1,
        claims,
        policy: DELETE,
        deletes_claims: false,
        resolve: Fate::Good,
        restore: Fate::Good,
        pod_never_ends: false,
        deleted_in: None,
        choices: vec![],
    }
}

#[test]
fn a_calm_restore_succeeds() {
    for kind in [Kind::Deployment, Kind::StatefulSet] {
        let mut world = World::new(calm(kind, 2));
        world.run();
        world.check();
        let status = world.restore.unwrap().status.unwrap();
        assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
        let words: Vec<String> = status.steps.into_iter().map(|step| step.message).collect();
        let message = conditions::get(&status.conditions, READY).unwrap().message.clone();
        if kind == Kind::Deployment {
            insta::assert_yaml_snapshot!((words, message));
        }
    }
}

#[test]
fn a_pod_that_does_not_end_is_named_and_everything_is_put_back() {
    let mut world = World::new(Scenario { pod_never_ends: true, ..calm(Kind::Deployment, 1) });
    world.run();
    world.check();
    let status = world.restore.unwrap().status.unwrap();
    assert_eq!(status.phase, Some(RestorePhase::Failed));
    insta::assert_yaml_snapshot!(
        status.conditions.iter().map(|c| (&c.type_, &c.reason, &c.message)).collect::<Vec<_>>()
    );
}

#[test]
fn what_may_clear_by_itself_is_waited_for_within_the_timeout_and_the_app_never_noticed() {
    for later in [true, false] {
        let resolve = if later { Fate::LaterGood } else { Fate::Locked };
        let mut world = World::new(Scenario { resolve, ..calm(Kind::Deployment, 1) });
        world.run();
        world.check();
        let shown = world.trace.iter().any(|step| step.starts_with("wait") && step.contains("waits for the lock"));
        assert!(shown, "the reason is shown meanwhile: {:#?}", world.trace);
        let status = world.restore.as_ref().unwrap().status.clone().unwrap();
        if later {
            assert_eq!(status.phase, Some(RestorePhase::Succeeded));
            continue;
        }
        let ready = conditions::get(&status.conditions, READY).unwrap();
        assert_eq!((status.phase, ready.reason.as_str()), (Some(RestorePhase::Failed), "RestoreTimeout"));
        assert!(
            status.stopped.is_empty()
                && status.finished_at.unwrap() - status.started_at.unwrap() >= DEFAULT_TIMEOUT.as_chrono()
        );
        assert!(!world.trace.iter().any(|step| step.starts_with("patch workload")), "the app was touched");
    }
}

/// Runs until something is so.
fn run_until(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    for _ in 0..500 {
        if is_so(world) {
            return;
        }
        world.control(|_| {});
        for which in 0..5 {
            world.kubernetes(which);
            if is_so(world) {
                return;
            }
        }
        world.now += chrono::Duration::seconds(1);
    }
    panic!("{what} never came: {:#?}", world.trace);
}

fn phase_of(world: &World) -> Option<RestorePhase> {
    world.restore.as_ref()?.status.as_ref()?.phase
}

#[test]
fn claims_that_a_statefulset_deletes_with_its_pods_come_back() {
    let scenario = Scenario { deletes_claims: true, ..calm(Kind::StatefulSet, 2) };
    let data = |world: &World, name: &str| {
        let claim = world.claim(name).unwrap();
        world.data[volumes::volume_of(&claim).unwrap()]
    };

    let mut world = World::new(Scenario { deleted_in: Some(RestorePhase::Stopping), ..scenario.clone() });
    run_until(&mut world, "the end of the claims", |world| {
        let is_going = |claim: PersistentVolumeClaim| claim.metadata.deletion_timestamp.is_some();
        phase_of(world) == Some(RestorePhase::Stopping) && world.claim("data0-app-0").is_some_and(is_going)
    });
    world.finish_deletions();
    world.delete_restore();
    world.run();
    world.check();
    assert_eq!(data(&world, "data1-app-0"), OLD, "the VolumeRestore was deleted before the way led forward");

    let mut world = World::new(scenario);
    run_until(&mut world, "the start", |world| phase_of(world) == Some(RestorePhase::Starting));
    let claim = world.claim("data0-app-0").unwrap();
    world.delete_claim(&claim);
    world.finish_deletions();
    world.run();
    world.check();
    assert_eq!(data(&world, "data0-app-0"), NEW);
}

#[test]
fn a_new_volume_that_is_gone_is_said() {
    let mut world = World::new(calm(Kind::Deployment, 1));
    run_until(&mut world, "the stop", |world| phase_of(world) == Some(RestorePhase::Stopping));
    let new = world.restore.as_ref().unwrap().status.as_ref().unwrap().volumes[0].volume.clone().unwrap();
    world.volumes.remove(&new);
    world.run();
    let status = world.restore.unwrap().status.unwrap();
    let ready = conditions::get(&status.conditions, READY).unwrap();
    assert_eq!((status.phase, ready.reason.as_str()), (Some(RestorePhase::Failed), "StagingFailed"));
    assert!(conditions::get(&status.conditions, STALLED).is_some());
    assert!(ready.message.contains("the new volume for claim"), "{}", ready.message);
}

/// The restore has failed with that reason, as the page of messages says it.
fn failed_with(world: &World, reason: Reason) {
    let status = world.restore.as_ref().unwrap().status.clone().unwrap();
    let ready = conditions::get(&status.conditions, READY).unwrap();
    assert_eq!((status.phase, ready.reason.as_str()), (Some(RestorePhase::Failed), reason.as_str()));
    assert_eq!(ready.status, ConditionStatus::False);
    assert!(conditions::get(&status.conditions, STALLED).is_some());
    assert!(effect::effects(On::VolumeRestore, reason).contains(&effect::FAILED));
}

#[test]
fn a_claim_that_goes_while_its_data_is_restored_ends_the_restore() {
    let mut world = World::new(Scenario { policy: RETAIN, ..calm(Kind::Deployment, 1) });
    run_until(&mut world, "the restore", |world| world.movers.contains_key("restore"));
    let name = world.claim_names()[0].clone();
    world.claims.remove(&key(APP, &name));
    world.run();
    failed_with(&world, Reason::ClaimNotFound);
}

#[test]
fn a_deleted_restore_ends_as_interrupted() {
    let mut world = World::new(Scenario { deleted_in: Some(RestorePhase::Stopping), ..calm(Kind::Deployment, 1) });
    run_until(&mut world, "the stop", |world| {
        world.restore.as_ref().is_some_and(|restore| restore.metadata.finalizers.is_some())
    });
    world.delete_restore();
    assert!(!world.vanished);
    world.run();
    world.check();
    assert!(world.trace.iter().any(|step| step.contains("the VolumeRestore was deleted")), "{:#?}", world.trace);
    let told = effect::effects(On::VolumeRestore, Reason::Interrupted);
    assert!(told.contains(&effect::FAILED));
}

#[test]
fn a_claim_that_became_a_block_volume_ends_the_restore() {
    let mut world = World::new(calm(Kind::Deployment, 1));
    run_until(&mut world, "the staging", |world| phase_of(world) == Some(RestorePhase::Restoring));
    let name = world.claim_names()[0].clone();
    world.claims.get_mut(&key(APP, &name)).unwrap().spec.as_mut().unwrap().volume_mode = Some("Block".to_owned());
    world.run();
    failed_with(&world, Reason::VolumeUnsupported);
}

//! Volumes are backed up.

use crate::{
    apps::{app, backup, ended, mounted_at, nothing_left, restore_of, run_now, running},
    audit,
    support::{SOON, SYSTEM, alone, apply, beside_others, create, eventually, get, kubectl, list, namespace, on_node},
};

#[test]
fn a_volume_is_backed_up_and_nothing_is_left() {
    for (driver, class) in [("rbd", "ceph-block"), ("cephfs", "ceph-filesystem")] {
        let _guard = beside_others();
        let ns = format!("b-{driver}");
        namespace(&ns);
        apply(&app(&ns, "app", class));
        running(&ns, "app");
        on_node(&["sh", "-c", &format!("echo hello > {}/file && sync", mounted_at(&ns, "app"))]);
        apply(&backup(&ns, "app"));
        eventually("the declaration is ready", SOON, || {
            (get("volumebackup", &ns, "app")?["status"]["phase"] == "Idle").then_some(())
        });
        let first = run_now(&ns, "app");
        assert_eq!(first["lastResult"], "Succeeded", "{driver}: {first:#}");
        assert_eq!(first["runs"][0]["files"], 1, "{driver}: {first:#}");
        let id = first["runs"][0]["snapshot"].as_str().expect("a snapshot is named");
        assert_eq!(id.len(), 64);
        nothing_left(&ns);

        // Nothing changed: a good run that rests on the same snapshot.
        let second = run_now(&ns, "app");
        assert_eq!(second["lastResult"], "Succeeded", "{driver}: {second:#}");
        assert_eq!(second["runs"][0]["snapshot"], id, "{driver}: unchanged data adds no snapshot");
        nothing_left(&ns);
    }
}

#[test]
fn claims_are_chosen_by_their_labels_and_come_back_together() {
    let _guard = beside_others();
    let ns = "b-labels";
    namespace(ns);
    let names = ["data", "media", "other"];
    for name in names {
        apply(&app(ns, name, "ceph-block"));
    }
    for name in names {
        running(ns, name);
        on_node(&["sh", "-c", &format!("echo {name} > {}/file && sync", mounted_at(ns, name))]);
    }
    apply(&format!(
        "apiVersion: strongroom.dev/v1alpha1\nkind: VolumeBackup\nmetadata: {{name: app, namespace: {ns}}}\nspec: \
         {{claimSelector: {{matchLabels: {{part-of: app}}}}, schedule: '0 0 1 1 *'}}\n"
    ));
    eventually("claims are waited for", SOON, || {
        (get("volumebackup", ns, "app")?["status"]["phase"] == "WaitingForClaim").then_some(())
    });
    kubectl(&["-n", ns, "label", "pvc", "data", "media", "part-of=app"]);
    let mark = audit::mark();
    let status = run_now(ns, "app");
    assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
    // Both volumes are of one driver that has group snapshots: one object snapshots both.
    for claim in status["claims"].as_array().expect("claims") {
        let reason = claim["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("with the others as one"), "{claim:#}");
    }
    let made = audit::of_operator(&mark);
    let made = |resource: &str| {
        made.iter().filter(|of| of.namespace == ns && of.verb == "create" && of.resource == resource).count()
    };
    assert_eq!((made("volumegroupsnapshots"), made("volumesnapshots")), (1, 0));
    nothing_left(ns);
    eventually("the snapshots of the group are gone", SOON, || {
        list("volumesnapshots,volumegroupsnapshots", ns, "").is_empty().then_some(())
    });
    let mut claims: Vec<_> = status["runs"].as_array().expect("runs").iter().map(|run| run["claim"].clone()).collect();
    claims.sort_by_key(ToString::to_string);
    assert_eq!(claims, ["data", "media"], "{status:#}");
    for name in names {
        on_node(&["sh", "-c", &format!("echo changed > {}/file && sync", mounted_at(ns, name))]);
    }
    let restore = ended(ns, &create(&restore_of(ns, "app")));
    assert_eq!(restore["status"]["phase"], "Succeeded", "{restore:#}");
    for (name, expected) in [("data", "data"), ("media", "media"), ("other", "changed")] {
        running(ns, name);
        assert_eq!(on_node(&["sh", "-c", &format!("cat {}/file", mounted_at(ns, name))]).trim(), expected);
    }
    nothing_left(ns);
}

#[test]
fn a_cache_is_kept_as_long_as_it_is_declared() {
    let _guard = beside_others();
    let ns = "b-cache";
    namespace(ns);
    apply(&app(ns, "app", "ceph-block"));
    running(ns, "app");
    on_node(&["sh", "-c", &format!("echo some > {}/file && sync", mounted_at(ns, "app"))]);
    let kept =
        backup(ns, "app").replace("spec: {", "spec: {mover: {cache: {size: 64Mi, storageClassName: ceph-block}}, ");
    let caches = || {
        let mut all = list("pvc", SYSTEM, &format!("strongroom.dev/owner-namespace={ns}"));
        all.retain(|claim| claim["metadata"]["labels"]["strongroom.dev/run"].is_null());
        all
    };
    apply(&kept);
    for _ in 0..2 {
        let status = run_now(ns, "app");
        assert_eq!(status["lastResult"], "Succeeded", "{status:#}");
        nothing_left(ns);
    }
    let all = caches();
    assert_eq!((all.len(), &all[0]["status"]["phase"]), (1, &"Bound".into()), "{all:#?}");
    // restic's own files are there, and no credential.
    let volume = all[0]["spec"]["volumeName"].as_str().expect("it is bound").to_owned();
    apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: look, namespace: {SYSTEM}}}\nspec:\n  restartPolicy: Never\n  \
         containers:\n    - name: look\n      image: localhost/strongroom-test:dev\n      imagePullPolicy: Never\n      \
         command: [/bin/sh, -c, \"ls -A /data\"]\n      volumeMounts: [{{name: data, mountPath: /data}}]\n  \
         volumes: [{{name: data, persistentVolumeClaim: {{claimName: {}}}}}]\n",
        all[0]["metadata"]["name"].as_str().expect("it has a name")
    ));
    let names = eventually("the cache was looked at", SOON, || {
        (get("pod", SYSTEM, "look")?["status"]["phase"] == "Succeeded")
            .then(|| kubectl(&["-n", SYSTEM, "logs", "look"]))
    });
    kubectl(&["-n", SYSTEM, "delete", "pod", "look", "--wait=true"]);
    let is_restics = |name: &&str| name.len() == 64 || ["CACHEDIR.TAG", "lost+found"].contains(name);
    assert!(names.lines().count() > 1 && names.lines().all(|name| is_restics(&name)), "{names}");
    // The field is taken out. Leftovers are looked for when some VolumeBackup is deleted, and now and then.
    apply(&backup(ns, "app"));
    apply(&backup(ns, "other"));
    eventually("the other one was seen", SOON, || {
        get("volumebackup", ns, "other")?["status"]["phase"].as_str().map(drop)
    });
    kubectl(&["-n", ns, "delete", "volumebackup", "other"]);
    eventually("the cache is gone", SOON, || caches().is_empty().then_some(()));
    eventually("its volume too", SOON, || get("pv", "", &volume).is_none().then_some(()));
}

#[test]
fn a_run_costs_few_writes() {
    let _guard = alone();
    namespace("b-cost");
    apply(&app("b-cost", "app", "ceph-block"));
    running("b-cost", "app");
    apply(&backup("b-cost", "app"));
    eventually("the declaration is ready", SOON, || {
        (get("volumebackup", "b-cost", "app")?["status"]["phase"] == "Idle").then_some(())
    });
    on_node(&["sh", "-c", &format!("echo some > {}/file && sync", mounted_at("b-cost", "app"))]);
    run_now("b-cost", "app");
    on_node(&["sh", "-c", &format!("echo more > {}/file && sync", mounted_at("b-cost", "app"))]);
    let mark = audit::mark();
    let status = run_now("b-cost", "app");
    assert_eq!(status["lastResult"], "Succeeded");
    nothing_left("b-cost");
    // What belongs to this run: other objects of the cluster have lives of their own.
    let run = status["runs"][0]["id"].as_str().expect("the run has an id").to_owned();
    let mut requests = audit::of_operator(&mark);
    requests.retain(|request| request.namespace == "b-cost" || request.name.starts_with(&run));
    let writes = audit::writes(&requests);
    let reads = requests.iter().filter(|request| ["get", "list"].contains(&request.verb.as_str())).count();
    println!("{reads} reads; writes for one run: {writes:#?}");
    let count = |verb: &str| writes.iter().filter(|((v, _), _)| v == verb).map(|(_, n)| n).sum::<usize>();
    assert!(count("create") <= 6, "objects created");
    assert!(count("delete") <= 6, "one delete for each");
    let status = count("update") + count("patch");
    assert!(status <= 4, "status updates: {status}");
    // How often it is looked depends on the machine; each look at most once at each object.
    assert!(reads <= 150, "reads: {reads}");
}

#[test]
fn a_declaration_that_is_deleted_in_mid_run_leaves_nothing() {
    let _guard = beside_others();
    namespace("b-deleted");
    apply(&app("b-deleted", "app", "ceph-block"));
    running("b-deleted", "app");
    on_node(&["sh", "-c", &format!("head -c 200M /dev/urandom > {}/big && sync", mounted_at("b-deleted", "app"))]);
    apply(&backup("b-deleted", "app"));
    kubectl(&[
        "-n",
        "b-deleted",
        "annotate",
        "volumebackup",
        "app",
        "reconcile.fluxcd.io/requestedAt=1",
        "reconcile.fluxcd.io/forceAt=1",
    ]);
    eventually("the mover's Job exists", SOON, || {
        list("job", SYSTEM, "strongroom.dev/owner-namespace=b-deleted").first().cloned()
    });
    kubectl(&["-n", "b-deleted", "delete", "volumebackup", "app"]);
    nothing_left("b-deleted");
}

//! What docs/without.md says about plain restic is so.

use super::*;

/// The commands of the page that begin so.
fn commands(start: &str) -> Vec<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/without.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

#[test]
fn plain_restic_gets_everything_back() {
    let place = Place::new();
    let volume = place.path("volume");
    tree::create(&volume);
    fs::write(volume.join("config.xml"), "<Config/>\n").unwrap();
    let done = run(&place, &Task::Backup(backup_of(&volume)));
    assert!(done.good, "{}", done.stderr);
    let there = place.path("laptop");
    fs::create_dir(&there).unwrap();
    let host = backup_volume(&volume).host;
    let sh = |line: &str| {
        let line = line.replace("--host media", &format!("--host {host}"));
        let line = line.replace("/data/radarr", volume.to_str().unwrap());
        let line = line.replacen("restic", place.program.to_str().unwrap(), 1);
        let plain = place.command(&[]);
        let mut command = Command::new("sh");
        command.args(["-euc", &line]).env_clear().env("PATH", "/usr/bin:/bin").current_dir(&there);
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let base = format!("--repo {}", place.repository().display());
    let sh = |line: &str| sh(&line.replace("--repo s3:https://s3.example.net/backups/strongroom/base", &base));
    let said: Vec<String> = commands("restic").iter().map(|line| sh(line)).collect();
    assert_eq!(said.len(), 5, "each command of the page");
    assert!(said[0].contains(volume.to_str().unwrap()) && said[3].contains("/config.xml"), "{said:?}");
    assert_eq!(fs::read_to_string(there.join("config.xml")).unwrap(), "<Config/>\n");
    let restored = there.join("radarr");
    // The folder itself is not in the snapshot, as the page says: its tag has mode and owner.
    let root = place.restic(&["snapshots", "--json"]);
    let of = fs::metadata(&volume).unwrap();
    let (mode, uid, gid) = (of.mode() & 0o7777, of.uid(), of.gid());
    assert!(root.contains(&format!("root={mode:o}:{uid}:{gid}")), "{root}");
    chown(&restored, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&restored, Permissions::from_mode(mode)).unwrap();
    assert_eq!(tree::differences(&volume, &restored), Vec::<String>::new());
}

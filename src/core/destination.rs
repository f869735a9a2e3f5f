//! Where backups go: the URL and identity that a repository object's templates resolve to, who may use it, and the
//! variables that restic gets.

use std::collections::BTreeMap;

use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};
use minijinja::{Environment, UndefinedBehavior, context};

use crate::{
    api::{
        backup::BackupTarget,
        repository::{ClusterResticRepository, DEFAULT_HOST, DEFAULT_PATH, RepositorySpec},
    },
    core::{
        job,
        problem::{Problem, Reason},
        restic::variables::{Variable, restic_variable},
        sensitive::{Sensitive, SensitiveMap},
        task::{BASE_URL_ENV, CA_ENV, CACHE_MOUNT, REPOSITORY_MOUNT},
    },
};

/// The reserved app whose URL is the base's: `strongroom/base`.
const BASE: (&str, &str) = ("strongroom", "base");
/// The variables that templates may use.
const VARIABLES: [&str; 4] = ["namespace", "name", "claim", "cluster"];
/// Work that a template may do; a URL takes a few steps.
const FUEL: u64 = 10_000;
/// restic's variable for the repository, which `url` decides.
const REPOSITORY: &str = "RESTIC_REPOSITORY";
/// restic's variable without which nothing can be read.
const PASSWORD: &str = "RESTIC_PASSWORD";
/// Directories of the mover that no volume may hide.
const RESERVED_PATHS: [&str; 7] = ["/dev", "/etc", "/proc", "/sys", "/tmp", CACHE_MOUNT, REPOSITORY_MOUNT];

/// What templates are rendered for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Namespace of the `VolumeBackup`.
    pub namespace: &'a str,
    /// Name of the `VolumeBackup`.
    pub name: &'a str,
    /// The cluster's id.
    pub cluster: &'a str,
}

/// Where the snapshots of each claim go. All claims of a `VolumeBackup` share one restic repository.
///
/// Errors: `InvalidSpec` or `NotSupported` for what the repository object declares.
pub fn targets(spec: &RepositorySpec, scope: Scope<'_>, claims: &[String]) -> Result<Vec<BackupTarget>, Problem> {
    let identity = spec.identity.clone().unwrap_or_default();
    let host = identity.host.as_deref().unwrap_or(DEFAULT_HOST);
    let path = identity.path.as_deref().unwrap_or(DEFAULT_PATH);
    let mut targets: Vec<BackupTarget> = vec![];
    for claim in claims {
        let target = BackupTarget {
            claim: claim.clone(),
            url: url(spec, scope, claim)?,
            host: render("identity.host", host, scope, claim)?,
            path: checked_path(render("identity.path", path, scope, claim)?)?,
        };
        if let Some(other) = targets.iter().find(|other| other.url != target.url) {
            let message = format!(
                "the claims {} and {} would go to different restic repositories, which one VolumeBackup cannot do: use {{{{ name }}}} instead of {{{{ claim }}}} in url, or one VolumeBackup for each claim",
                other.claim, target.claim
            );
            return Err(Problem::new(Reason::NotSupported, message));
        }
        if let Some(other) = targets.iter().find(|other| (&other.host, &other.path) == (&target.host, &target.path)) {
            let message = format!(
                "the claims {} and {} would mix their histories at host {} and path {}: use {{{{ claim }}}} in identity.path",
                other.claim, target.claim, target.host, target.path
            );
            return Err(Problem::new(Reason::InvalidSpec, message));
        }
        if target.host.is_empty() {
            return Err(Problem::new(Reason::InvalidSpec, "identity.host resolves to nothing: write a host"));
        }
        targets.push(target);
    }
    Ok(targets)
}

/// The URL of a claim's restic repository.
fn url(spec: &RepositorySpec, scope: Scope<'_>, claim: &str) -> Result<String, Problem> {
    let url = render("url", &spec.url, scope, claim)?;
    checked_url(spec, &url)?;
    if !is_fixed(&spec.url) && url == base_url(spec, scope.cluster)? {
        let message = format!(
            "{}/{} resolves to the URL that is reserved for the repository's base: rename the VolumeBackup",
            scope.namespace, scope.name
        );
        return Err(Problem::new(Reason::InvalidSpec, message));
    }
    Ok(url)
}

/// The URL of the base: the template rendered for the reserved app. A URL without variables is its own base.
pub fn base_url(spec: &RepositorySpec, cluster: &str) -> Result<String, Problem> {
    let scope = Scope { namespace: BASE.0, name: BASE.1, cluster };
    let url = render("url", &spec.url, scope, BASE.1)?;
    checked_url(spec, &url)?;
    Ok(url)
}

/// Checks everything that a repository object's templates can get wrong, before anyone uses it.
pub fn validate(spec: &RepositorySpec, cluster: &str) -> Result<(), Problem> {
    base_url(spec, cluster)?;
    supported(spec)?;
    spec.mover.as_ref().map_or(Ok(()), job::check)?;
    let scope = Scope { namespace: "namespace", name: "name", cluster };
    targets(spec, scope, &["claim".to_owned()]).map(drop)
}

/// What this version does not do is refused by name, never ignored.
fn supported(spec: &RepositorySpec) -> Result<(), Problem> {
    let field = if spec.populate.is_some() {
        "populate"
    } else if !spec.allowed_identities.is_empty() {
        "allowedIdentities"
    } else {
        return Ok(());
    };
    Err(Problem::new(Reason::NotSupported, format!("this version does not have {field}: remove the field")))
}

/// Whether the same restic repository serves everyone.
pub fn is_fixed(template: &str) -> bool {
    !template.contains("{{") && !template.contains("{%")
}

/// Whether what is written has the identity of another program: one that is the same for everyone.
pub fn continues_another(spec: &RepositorySpec) -> bool {
    let identity = spec.identity.clone().unwrap_or_default();
    [identity.host, identity.path].iter().all(|part| part.as_deref().is_some_and(is_fixed))
}

/// A URL without the user and password that it may hold.
pub fn public_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

fn render(field: &str, template: &str, scope: Scope<'_>, claim: &str) -> Result<String, Problem> {
    let wrong = |what: String| Problem::new(Reason::InvalidSpec, format!("{field} {:?}: {what}", public_url(template)));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    let parsed = environment.template_from_str(template).map_err(|error| wrong(error.to_string()))?;
    let mut unknown: Vec<String> = parsed.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !VARIABLES.contains(&name.as_str()));
    unknown.sort();
    if let Some(name) = unknown.first() {
        return Err(wrong(format!("{name} is not known; use {}", VARIABLES.join(", "))));
    }
    let variables = context! {
        namespace => scope.namespace, name => scope.name, claim => claim, cluster => scope.cluster,
    };
    parsed.render(variables).map_err(|error| wrong(error.to_string()))
}

fn checked_url(spec: &RepositorySpec, url: &str) -> Result<(), Problem> {
    let refused = |reason, what: &str| Err(Problem::new(reason, format!("url {}: {what}", public_url(url))));
    let backend = url.split_once(':').map_or("", |(backend, _)| backend);
    match backend {
        "rclone" => refused(Reason::NotSupported, "rclone: needs the program rclone, which the image does not have"),
        "sftp" => refused(Reason::NotSupported, "sftp: needs the program ssh, which the image does not have"),
        "rest" | "s3" | "b2" | "azure" | "gs" | "swift" if spec.volume.is_none() => Ok(()),
        _ if !url.starts_with('/') => {
            refused(Reason::InvalidSpec, "write a path, or rest:, s3:, b2:, azure:, gs: or swift: and an address")
        }
        _ if spec.volume.is_none() => {
            refused(Reason::InvalidSpec, "a path needs volume, the volume that is mounted at /repository")
        }
        _ if !is_below(url, REPOSITORY_MOUNT) || url.split('/').any(|part| part == "..") => {
            refused(Reason::InvalidSpec, "a path has to be below /repository, where the volume is mounted")
        }
        _ => Ok(()),
    }
}

fn checked_path(path: String) -> Result<String, Problem> {
    let plain = path.len() > 1
        && path.starts_with('/')
        && path[1..].split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain || RESERVED_PATHS.iter().any(|reserved| is_below(&path, reserved)) {
        let message = format!(
            "identity.path resolves to {path:?}: write an absolute path such as /data/{{{{ claim }}}}, outside of {}",
            RESERVED_PATHS.join(", ")
        );
        return Err(Problem::new(Reason::InvalidSpec, message));
    }
    Ok(path)
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a namespace may use a repository object.
pub fn admits(spec: &RepositorySpec, namespace: &str, labels: &BTreeMap<String, String>) -> Result<bool, Problem> {
    let Some(allowed) = &spec.allowed_namespaces else { return Ok(true) };
    if allowed.names.iter().any(|name| name == namespace) {
        return Ok(true);
    }
    let Some(selector) = &allowed.selector else { return Ok(false) };
    let selector: Selector = selector
        .clone()
        .try_into()
        .map_err(|error| Problem::new(Reason::InvalidSpec, format!("allowedNamespaces.selector: {error}")))?;
    Ok(selector.matches(labels))
}

/// The repository object that is used where none is named: the oldest that wants to be it.
pub fn default_repository<'a>(
    repositories: impl IntoIterator<Item = &'a ClusterResticRepository>,
) -> Option<&'a ClusterResticRepository> {
    let wants = |repository: &&ClusterResticRepository| {
        repository.spec.repository.default && repository.metadata.deletion_timestamp.is_none()
    };
    let age = |repository: &&ClusterResticRepository| (repository.creation_timestamp(), repository.name_any());
    repositories.into_iter().filter(wants).min_by_key(age)
}

/// The variables that restic gets, from what a Secret or item holds, and the names of those that it does not get
/// with the reason. `source` names where they come from, for messages. `ca` are the certificates that alone are trusted.
///
/// Errors: `CredentialsMissing` without a password.
pub fn variables(
    fields: &SensitiveMap,
    source: &str,
    ca: Option<&Sensitive>,
    url: &str,
    base_url: &str,
) -> Result<(SensitiveMap, Vec<String>), Problem> {
    let mut taken = SensitiveMap::new();
    let mut refused = vec![];
    for (name, value) in fields {
        match restic_variable(name) {
            Variable::Allowed(_) => _ = taken.insert(name.clone(), value.clone()),
            Variable::Refused(why) => refused.push(format!("{name} ({why})")),
        }
    }
    if taken.get(PASSWORD).is_none_or(|password| password.expose().is_empty()) {
        let message = format!("{source} has no {PASSWORD}: add it there");
        return Err(Problem::new(Reason::CredentialsMissing, message));
    }
    taken.insert(REPOSITORY.to_owned(), Sensitive::from(url));
    taken.insert(BASE_URL_ENV.to_owned(), Sensitive::from(base_url));
    taken.extend(ca.map(|ca| (CA_ENV.to_owned(), ca.clone())));
    Ok((taken, refused))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: &serde_json::Value) -> RepositorySpec {
        let mut spec = json!({"url": "s3:https://s3.example.net/b/{{ namespace }}/{{ name }}", "credentials": {"secretRef": {"name": "restic"}}});
        spec.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    const SCOPE: Scope<'_> = Scope { namespace: "media", name: "radarr", cluster: "c1" };

    fn claims(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn templates_resolve() {
        let target = &targets(&spec(&json!({})), SCOPE, &claims(&["config"])).unwrap()[0];
        assert_eq!(target.url, "s3:https://s3.example.net/b/media/radarr");
        assert_eq!((target.host.as_str(), target.path.as_str()), ("media", "/data/config"));
        assert_eq!(base_url(&spec(&json!({})), "c1").unwrap(), "s3:https://s3.example.net/b/strongroom/base");
        let shared = spec(
            &json!({"url": "rest:https://u:p@nas:8000/all", "identity": {"host": "{{ cluster }}-{{ namespace }}", "path": "/{{ name }}/{{ claim }}"}}),
        );
        let target = &targets(&shared, SCOPE, &claims(&["config"])).unwrap()[0];
        assert_eq!((target.host.as_str(), target.path.as_str()), ("c1-media", "/radarr/config"));
        assert_eq!(base_url(&shared, "c1").unwrap(), target.url);
        assert_eq!(public_url(&target.url), "rest:https://nas:8000/all");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            json!({"url": "rclone:drive:backups"}),
            json!({"url": "sftp:user@nas:/backups"}),
            json!({"url": "nas:/backups"}),
            json!({"url": "/repository/{{ name }}"}),
            json!({"url": "/repository-other/{{ name }}", "volume": {"claimName": "nas"}}),
            json!({"url": "/repository/../etc", "volume": {"claimName": "nas"}}),
            json!({"url": "s3:https://k:geheim@s3/{{ app }}"}),
            json!({"url": "s3:https://s3/{{ name"}),
            json!({"url": "s3:https://s3/{{ claim }}"}),
            json!({"identity": {"path": "/data"}}),
            json!({"identity": {"path": "data/{{ claim }}"}}),
            json!({"identity": {"path": "/cache/{{ claim }}"}}),
            json!({"identity": {"path": "/a/../{{ claim }}"}}),
            json!({"identity": {"host": ""}}),
        ];
        let messages: Vec<String> = cases
            .into_iter()
            .map(|case| {
                let problem = targets(&spec(&case), SCOPE, &claims(&["config", "media"])).unwrap_err();
                format!("{}: {}", problem.reason, problem.message)
            })
            .collect();
        insta::assert_yaml_snapshot!(messages);
    }

    #[test]
    fn what_this_version_does_not_do_is_refused_by_its_name() {
        for (field, declared) in [
            ("populate", json!({"populate": {"onMissing": "Fail"}})),
            (
                "allowedIdentities",
                json!({"allowedIdentities": [{"host": "old", "path": "/data", "namespaces": ["a"]}]}),
            ),
        ] {
            let problem = validate(&spec(&declared), "c1").expect_err(field);
            assert_eq!(problem.reason, Reason::NotSupported);
            assert!(problem.message.contains(field), "{field}: {}", problem.message);
        }
        let done = json!({"ca": {"secretName": "nas"}, "limits": {"backups": 2, "perNode": 1, "upload": "1M"}, "mover": {"cache": {"size": "5Gi"}}});
        assert!(validate(&spec(&done), "c1").is_ok());
    }

    #[test]
    fn the_base_is_nobodys() {
        let scope = Scope { namespace: "strongroom", name: "base", cluster: "c1" };
        let problem = targets(&spec(&json!({})), scope, &claims(&["config"])).unwrap_err();
        assert_eq!(problem.reason, Reason::InvalidSpec);
        // A shared repository is its own base, for everyone.
        assert!(targets(&spec(&json!({"url": "rest:http://nas/all"})), scope, &claims(&["config"])).is_ok());
    }

    #[test]
    fn namespaces_are_admitted() {
        let labels = BTreeMap::from([("team".to_owned(), "media".to_owned())]);
        let admitted = |allowed, namespace: &str| {
            admits(&spec(&json!({"allowedNamespaces": allowed})), namespace, &labels).unwrap()
        };
        assert!(admits(&spec(&json!({})), "any", &BTreeMap::new()).unwrap());
        assert!(admitted(json!({"names": ["media"]}), "media"));
        assert!(!admitted(json!({"names": ["media"]}), "games"));
        assert!(admitted(json!({"names": ["games"], "selector": {"matchLabels": {"team": "media"}}}), "other"));
        assert!(!admitted(json!({"selector": {"matchLabels": {"team": "games"}}}), "other"));
    }

    #[test]
    fn the_older_default_stays() {
        let repository = |name: &str, created: &str, default: bool| {
            let object = json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": {"default": default, "url": "/repository", "credentials": {}}});
            serde_json::from_value::<ClusterResticRepository>(object).unwrap()
        };
        let all = [
            repository("a", "2026-02-01T00:00:00Z", true),
            repository("b", "2026-01-01T00:00:00Z", true),
            repository("c", "2025-01-01T00:00:00Z", false),
        ];
        assert_eq!(default_repository(&all).unwrap().name_any(), "b");
        assert!(default_repository(&all[2..]).is_none());
    }

    #[test]
    fn only_data_is_passed_on() {
        let fields = |names: &[&str]| -> SensitiveMap {
            names.iter().map(|name| ((*name).to_owned(), Sensitive::from("value"))).collect()
        };
        let all =
            fields(&["RESTIC_PASSWORD", "RESTIC_PASSWORD_COMMAND", "RESTIC_REPOSITORY", "PATH", "AWS_ACCESS_KEY_ID"]);
        let of = |fields, ca: Option<&Sensitive>| variables(fields, "Secret strongroom/restic", ca, "url", "base");
        let (taken, refused) = of(&all, None).unwrap();
        let mut names = vec!["AWS_ACCESS_KEY_ID", "RESTIC_PASSWORD", "RESTIC_REPOSITORY", "STRONGROOM_BASE_REPOSITORY"];
        assert_eq!(taken.keys().collect::<Vec<_>>(), names);
        assert_eq!(taken["RESTIC_REPOSITORY"], Sensitive::from("url"));
        assert_eq!(refused.len(), 2, "{refused:?}");
        names.push("STRONGROOM_CA");
        let own = fields(&["STRONGROOM_CA", "RESTIC_PASSWORD", "AWS_ACCESS_KEY_ID"]);
        assert!(!of(&own, None).unwrap().0.contains_key("STRONGROOM_CA"), "only the field ca decides");
        let (taken, _) = of(&own, Some(&Sensitive::from("pem"))).unwrap();
        assert_eq!(taken.keys().collect::<Vec<_>>(), names);
        assert_eq!(taken["STRONGROOM_CA"], Sensitive::from("pem"));
        let problem = of(&fields(&["AWS_ACCESS_KEY_ID"]), None).unwrap_err();
        assert_eq!(problem.message, "Secret strongroom/restic has no RESTIC_PASSWORD: add it there");
    }
}

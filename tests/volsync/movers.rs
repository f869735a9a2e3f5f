//! What movers need: time and CPU of their pods, by their cgroups, and requests to the repository server, by its log.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{list, on_node};

/// A pod that came and went.
pub(crate) struct Mover {
    /// From its first cgroup to its last one.
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// Looks at all pods' cgroups ten times in a second, until the file is gone.
const SAMPLE: &str = r"
touch /run/bench-sampling; rm -f /run/bench-samples
base=/sys/fs/cgroup; [ -d $base/cpuacct ] && base=$base/cpuacct
while [ -e /run/bench-sampling ]; do
  now=$(date +%s%3N)
  for pod in $(find $base -maxdepth 7 -type d -name 'pod*-*' 2>/dev/null); do
    if [ -e $pod/cpuacct.usage ]; then
      read -r cpu < $pod/cpuacct.usage && echo $now ${pod##*/} $((cpu / 1000))
    else
      read -r _ cpu < $pod/cpu.stat && echo $now ${pod##*/} $cpu
    fi
  done >> /run/bench-samples 2>/dev/null
  sleep 0.1
done
";

/// Begins to look at what pods need.
pub(crate) fn start_sampling() {
    on_node(&["sh", "-c", "setsid sh -c \"$0\" >/dev/null 2>&1 </dev/null &", SAMPLE]);
}

/// Ends it. The pods that came after the start.
pub(crate) fn sampled() -> Vec<Mover> {
    on_node(&["rm", "-f", "/run/bench-sampling"]);
    let samples = on_node(&["cat", "/run/bench-samples"]);
    let mut pods: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    let mut first = None;
    for line in samples.lines() {
        // A pod that goes while it is looked at leaves half a line.
        let [at, pod, cpu] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let (Ok(at), Ok(cpu)) = (at.parse(), cpu.parse()) else { continue };
        first.get_or_insert(at);
        let of = pods.entry(pod.to_owned()).or_insert((at, at, cpu));
        (of.1, of.2) = (at, of.2.max(cpu));
    }
    let new = pods.into_values().filter(|(begun, ..)| Some(*begun) > first);
    let mover = |(begun, ended, cpu): (u64, u64, u64)| Mover {
        wall: Duration::from_millis(ended - begun),
        cpu: Duration::from_micros(cpu),
    };
    new.map(mover).collect()
}

/// The server's log of requests.
fn log(namespace: &str) -> String {
    let pod = &list("pod", namespace, "app=rest")[0];
    let uid = pod["metadata"]["uid"].as_str().expect("pods have uids");
    on_node(&["sh", "-c", &format!("cat /var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/data/log || true")])
}

/// How many requests the server has had.
pub(crate) fn log_length(namespace: &str) -> usize {
    log(namespace).lines().count()
}

/// The requests since then for what is in this folder, as `METHOD PATH`.
pub(crate) fn asked(namespace: &str, since: usize, folder: &str) -> Vec<String> {
    let log = log(namespace);
    let request = |line: &str| {
        let mut words = line.split('"').nth(1)?.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    let all = log.lines().skip(since).filter_map(request);
    all.filter(|request| request.contains(&format!(" /{folder}/"))).collect()
}

/// Whether restic asked for this when it started: for the repository's configuration.
pub(crate) fn is_start(request: &str) -> bool {
    request.starts_with("GET ") && request.ends_with("/config")
}

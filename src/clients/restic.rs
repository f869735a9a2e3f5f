//! restic as a child process.
//!
//! It never asks: its standard input ends at once, or after a short text. Its environment is an allow-list, its output
//! is read line by line and handed on, and what it says on standard error is cleaned of secrets before anything else
//! sees it. It is never killed, since that would leave a lock: a mover that is told to stop tells restic, and waits.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::core::{
    restic::{
        arguments,
        failure::Ending,
        messages::Config,
        redact::Redactor,
        variables::{Content, Variable, restic_variable},
    },
    sensitive::{Sensitive, SensitiveMap},
    task::{CA_ENV, Failure, FailureKind},
};

/// The longest line of output: a list of snapshots is one line.
const LONGEST_OUTPUT: usize = 256 << 20;
/// The longest line of standard error that is read; the rest of it is left out.
const LONGEST_WORDS: usize = 64 << 10;
/// How many of restic's words go to the log, for each start.
const LOGGED: usize = 200;
/// Lines that wait for whoever reads them.
const WAITING: usize = 64;
/// How long restic may try to open a repository that does not answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// restic, with the credentials of a run.
#[derive(Clone)]
pub struct Restic {
    program: PathBuf,
    /// Where its temporary files and credentials are.
    scratch: PathBuf,
    cache: PathBuf,
    variables: SensitiveMap,
    redactor: Redactor,
    stop: watch::Receiver<bool>,
    patience: Duration,
    /// Whether restic keeps a cache.
    cached: bool,
    /// Whether it found its cache full, which ends it.
    cache_was_full: Arc<AtomicBool>,
    /// Removed from the cache when the last user of the credentials is gone.
    _files: Arc<Vec<CredentialFile>>,
}

impl Restic {
    /// `program` with the variables of a run's Secret. Those that restic's credentials may not hold are left out;
    /// files are made of those that restic wants as files, in `scratch`. When `stop` turns true, restic is told to end.
    pub fn new(
        program: PathBuf,
        scratch: PathBuf,
        given: &SensitiveMap,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, Failure> {
        let (mut variables, mut files) = (SensitiveMap::new(), vec![]);
        for (name, value) in given {
            let as_file = match restic_variable(name) {
                Variable::Allowed(Content::File) => name.as_str(),
                Variable::Allowed(_) => {
                    variables.insert(name.clone(), value.clone());
                    continue;
                }
                Variable::Refused(_) if name == CA_ENV => "RESTIC_CACERT",
                Variable::Refused(_) => continue,
            };
            let file = CredentialFile(scratch.join(format!(".{as_file}")));
            file.write(value).map_err(|error| fatal("cannot write credentials beside the cache", &error))?;
            variables.insert(as_file.to_owned(), Sensitive::from(file.0.to_string_lossy().into_owned()));
            files.push(file);
        }
        Ok(Self {
            program,
            cache: scratch.clone(),
            scratch,
            variables,
            redactor: Redactor::new(given),
            stop,
            patience: PATIENCE,
            cached: true,
            cache_was_full: Arc::default(),
            _files: Arc::new(files),
        })
    }

    /// The same with its cache in another place, which may be kept from run to run.
    #[must_use]
    pub fn with_cache(self, cache: PathBuf) -> Self {
        Self { cache, ..self }
    }

    /// The same for another repository. What it caches is not kept.
    #[must_use]
    pub fn at(&self, url: Sensitive) -> Self {
        let mut other = Self { cache: self.scratch.clone(), ..self.clone() };
        other.variables.insert("RESTIC_REPOSITORY".to_owned(), url);
        other
    }

    /// The same, giving up earlier or later on a repository that does not answer.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Whether restic, or the same for another repository, was ended because its cache was full.
    pub fn cache_was_full(&self) -> bool {
        self.cached && self.cache_was_full.load(Ordering::Relaxed)
    }

    /// The same without a cache; the space of what is cached is free for restic's other files then.
    #[must_use]
    pub fn without_cache(&self) -> Self {
        for id in self.cached_ids() {
            self.clear(&id);
        }
        Self { cached: false, ..self.clone() }
    }

    /// Whether the mover was told to stop.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// restic's id of the repository, told from the cache that restic keeps for each one it opened: no further start
    /// is needed, but without a cache, or with one that is kept, which may be of what was there before. None where none
    /// or several were opened.
    pub async fn repository_id(&self) -> Option<String> {
        if !self.cached || self.cache != self.scratch {
            let id = self.json::<Config>(&arguments::config()).await.ok().map(|config| config.id)?;
            self.forget_others(&id);
            return Some(id);
        }
        let mut ids = self.cached_ids().into_iter();
        ids.next().filter(|_| ids.next().is_none())
    }

    /// Removes what is cached of other repositories.
    fn forget_others(&self, id: &str) {
        for other in self.cached_ids().iter().filter(|other| *other != id) {
            self.clear(other);
        }
    }

    fn clear(&self, id: &str) {
        if let Err(error) = std::fs::remove_dir_all(self.cache.join(id)) {
            tracing::warn!(%error, "cannot clear restic's cache");
        }
    }

    /// The ids of the repositories of which something is cached.
    fn cached_ids(&self) -> Vec<String> {
        let is_id = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let entries = std::fs::read_dir(&self.cache).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(is_id).collect()
    }

    /// Runs restic and hands each line of its output on. `directory` is where it works.
    pub async fn lines(
        &self,
        arguments: &[String],
        directory: Option<&Path>,
        output: mpsc::Sender<Vec<u8>>,
    ) -> Result<Ending, Failure> {
        self.run(arguments, directory, b"", output).await
    }

    async fn run(
        &self,
        arguments: &[String],
        directory: Option<&Path>,
        input: &[u8],
        output: mpsc::Sender<Vec<u8>>,
    ) -> Result<Ending, Failure> {
        if self.is_stopped() {
            return Ok(Ending::interrupted());
        }
        let mut child = self.start(arguments, directory)?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input).await
        {
            // It says itself why it reads no more.
            tracing::debug!(%error, "restic does not read its input");
        }
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(fatal("restic has no output", &"no pipe"));
        };
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut ending = Ending::default();
        let mut stop = self.stop.clone();
        let read = async { tokio::join!(forward(stdout, output), self.listen(stderr, pid, &mut ending)) };
        let told = async {
            if stop.wait_for(|stop| *stop).await.is_ok() {
                tell_to_end(pid);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = read => {}
            () = told => {}
        }
        // Both outputs are closed: it has ended, or is about to.
        let status = child.wait().await.map_err(|error| fatal("cannot wait for restic", &error))?;
        ending.code = status.code();
        ending.interrupted = self.is_stopped() && !status.success();
        if status.success() || ending.interrupted {
            ending.unanswered = None;
        }
        Ok(ending)
    }

    /// Runs restic and returns all of its output.
    pub async fn output(&self, arguments: &[String]) -> Result<Vec<u8>, Failure> {
        self.output_with(arguments, b"").await
    }

    /// The same, with a short text on its standard input.
    pub async fn output_with(&self, arguments: &[String], input: &[u8]) -> Result<Vec<u8>, Failure> {
        let (sender, mut lines) = mpsc::channel::<Vec<u8>>(WAITING);
        let mut output = Vec::new();
        let collect = async {
            while let Some(line) = lines.recv().await {
                output.extend_from_slice(&line);
                output.push(b'\n');
            }
        };
        let (ending, ()) = tokio::join!(self.run(arguments, None, input, sender), collect);
        let ending = ending?;
        if ending.is_success() { Ok(output) } else { Err(ending.failure()) }
    }

    /// Runs restic and returns its output, which is one JSON document.
    pub async fn json<T: DeserializeOwned>(&self, arguments: &[String]) -> Result<T, Failure> {
        let output = self.output(arguments).await?;
        serde_json::from_slice(&output).map_err(|error| fatal("restic's output is not understood", &error))
    }

    /// Text without the secrets of this run.
    pub fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }

    fn start(&self, arguments: &[String], directory: Option<&Path>) -> Result<Child, Failure> {
        let plain = BTreeMap::from([
            ("RESTIC_PROGRESS_FPS", "1"),
            ("TZ", "UTC"),
            // Each shallow CephFS volume is a device of its own: with its number in every entry, unchanged data would
            // never look unchanged.
            ("RESTIC_FEATURES", "device-id-for-hardlinks=true"),
        ]);
        let mut command = Command::new(&self.program);
        command
            .args((!self.cached).then_some("--no-cache"))
            .args(arguments)
            .env_clear()
            .envs(plain)
            .env("RESTIC_CACHE_DIR", &self.cache)
            .env("TMPDIR", &self.scratch)
            .envs(self.variables.iter().map(|(name, value)| (name, os_string(value))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal from a terminal reaches the mover only, which passes it on.
            .process_group(0);
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        command.spawn().map_err(|error| fatal(&format!("cannot start {}", self.program.display()), &error))
    }

    /// Hears what restic says, and tells it to end when the repository does not answer for too long.
    async fn listen(&self, stderr: impl tokio::io::AsyncRead + Unpin, pid: Option<Pid>, ending: &mut Ending) {
        let mut reader = BufReader::new(stderr);
        let (mut line, mut heard) = (Vec::new(), 0);
        let mut deadline: Option<Instant> = None;
        loop {
            let late = sleep_until(deadline.unwrap_or_else(Instant::now));
            // What was read of a line stays in `line` when the time is up first.
            tokio::select! {
                more = next_line(&mut reader, &mut line, LONGEST_WORDS) => if !matches!(more, Ok(true)) { return },
                () = late, if deadline.is_some() => {
                    deadline = None;
                    tell_to_end(pid);
                    continue;
                }
            }
            let words = self.redactor.clean(&String::from_utf8_lossy(&line));
            line.clear();
            match Ending::is_trying_to_open(&words) {
                Some(true) => {
                    deadline = deadline.or_else(|| Some(Instant::now() + self.patience));
                    ending.unanswered = Some(words.clone());
                }
                Some(false) => (deadline, ending.unanswered) = (None, None),
                None => {}
            }
            if self.cached && Ending::is_about_a_full_cache(&words, &self.cache.to_string_lossy()) {
                self.cache_was_full.store(true, Ordering::Relaxed);
                tell_to_end(pid);
            }
            heard += 1;
            if heard <= LOGGED && !words.trim().is_empty() {
                tracing::warn!(restic = %words.trim());
            }
            ending.hear(&words);
        }
    }
}

/// A file with a credential, readable by the mover only, that goes with the mover.
struct CredentialFile(PathBuf);

impl CredentialFile {
    fn write(&self, value: &Sensitive) -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.0)?;
        file.write_all(value.expose())
    }
}

impl Drop for CredentialFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "cannot remove a credential from beside the cache");
        }
    }
}

/// Hands lines on. When nobody wants them any more, the rest is read and dropped, so that restic can end.
async fn forward(stdout: impl tokio::io::AsyncRead + Unpin, output: mpsc::Sender<Vec<u8>>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while matches!(next_line(&mut reader, &mut line, LONGEST_OUTPUT).await, Ok(true)) {
        let _ = output.send(std::mem::take(&mut line)).await;
    }
}

/// Reads a line without its end, or what is left of it where it was begun; of longer ones, the beginning. False at
/// the end.
async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    longest: usize,
) -> std::io::Result<bool> {
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(longest.saturating_sub(line.len()))]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn tell_to_end(pid: Option<Pid>) {
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
        tracing::warn!(%error, "cannot tell restic to end");
    }
}

fn os_string(value: &Sensitive) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(value.expose().to_vec())
}

fn fatal(what: &str, error: &dyn Display) -> Failure {
    Failure { kind: FailureKind::Fatal, message: format!("{what}: {error}") }
}

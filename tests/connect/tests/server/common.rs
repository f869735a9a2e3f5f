//! A server of its own for each test, and a plain HTTP/1.1 client that shows
//! what is on the wire.

use serde_json::{Value, json};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server with the test's data.
pub(crate) struct Server {
    child: Child,
    pub(crate) connect: String,
    pub(crate) admin: String,
    /// A token that reads and writes all vaults.
    pub(crate) token: String,
    _folder: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Server {
    /// Starts a server from a seed with vaults and tokens.
    pub(crate) fn start(seed: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seed_file = folder.path().join("seed.json");
        let ready = folder.path().join("ready");
        fs::write(&seed_file, seed.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_connect-dev"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--seed")
            .arg(&seed_file)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let addresses = eventually(|| fs::read_to_string(&ready).ok());
        let (connect, admin) = addresses.trim().split_once('\n').unwrap();
        let mut server =
            Self { child, connect: connect.to_owned(), admin: admin.to_owned(), token: String::new(), _folder: folder };
        let grant = json!({"name": "all", "vaults": [{"vault": "*", "access": "write"}]});
        server.token = server.admin("POST", "/tokens", &grant)["token"].as_str().unwrap().to_owned();
        server
    }

    /// Asks the Connect side on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<Reply> {
        Wire::open(&self.connect).ask(method, path, &self.token, body)
    }

    /// Gets something from the Connect side.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks the admin side; the answer is JSON, and no error.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.admin_reply(method, path, body);
        assert!(reply.status < 300, "{method} {path}: {reply:?}");
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    /// Asks the admin side.
    pub(crate) fn admin_reply(&self, method: &str, path: &str, body: &Value) -> Reply {
        let path = format!("/admin{path}");
        Wire::open(&self.admin).ask(method, &path, "", &body.to_string()).unwrap()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        eventually(|| self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has already ended cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that can carry several requests.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Gives up reading after this time.
    pub(crate) fn patience(&self, time: Duration) {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> io::Result<Reply> {
        write!(
            self.stream.get_mut(),
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut reply = Reply { status: status.unwrap_or(0), head, body: Vec::new() };
        let length = reply.header("content-length").and_then(|text| text.parse().ok());
        reply.body.resize(length.unwrap_or(0), 0);
        self.stream.read_exact(&mut reply.body)?;
        Ok(reply)
    }
}

/// Waits until something is there.
pub(crate) fn eventually<T>(mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A vault `Home` with one login, `db`, that has a file.
pub(crate) fn one_item() -> Value {
    json!({"vaults": [{
        "name": "Home",
        "items": [{
            "title": "db",
            "fields": {"username": "admin", "password": "one"},
            "files": {"tls.key": "the key"},
        }],
    }]})
}

/// The paths of the first vault, and of the first item in it.
pub(crate) fn paths(server: &Server) -> (String, String) {
    let vaults = server.admin("GET", "/vaults", &Value::Null);
    let vault = vaults[0]["id"].as_str().unwrap();
    let items = server.admin("GET", &format!("/vaults/{vault}/items"), &Value::Null);
    let item = items[0]["id"].as_str().unwrap();
    (format!("/v1/vaults/{vault}"), format!("/v1/vaults/{vault}/items/{item}"))
}

//! Commands in an app's pod, as `kubectl exec` runs them.

use std::{convert::Infallible, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{AttachParams, AttachedProcess},
};
use tokio::{
    io::{AsyncRead, copy, sink},
    time::timeout,
};

use crate::{
    clients::cluster,
    core::backup::{Exec, Executed},
};

/// How long it may take until the command is begun.
const CONNECT: Duration = Duration::from_secs(30);

/// Runs a command. What it prints is thrown away: it may hold a secret.
pub async fn run(client: &Client, exec: &Exec) -> Executed {
    let pods = Api::<Pod>::namespaced(client.clone(), &exec.namespace);
    let params = AttachParams::default().container(&exec.container);
    let process = match timeout(CONNECT, pods.exec(&exec.pod, exec.command.clone(), &params)).await {
        Ok(Ok(process)) => process,
        Ok(Err(error)) => {
            return Executed::not_run(&cluster::problem::<Pod>("run a command in", &exec.pod, &error).message);
        }
        Err(_) => return Executed::not_run("the Kubernetes API does not answer"),
    };
    // What runs on in the pod cannot be ended from here.
    timeout(exec.timeout, end_of(process)).await.unwrap_or_else(|_| Executed::late(exec.timeout))
}

async fn end_of(mut process: AttachedProcess) -> Executed {
    let (out, err) = (process.stdout(), process.stderr());
    // Where the connection is lost, kube lets whoever reads wait for ever.
    let drained = async {
        tokio::join!(drain(out), drain(err));
        std::future::pending::<Infallible>().await
    };
    let status = async {
        match process.take_status() {
            Some(status) => status.await,
            None => None,
        }
    };
    tokio::select! {
        status = status => match status {
            Some(status) => Executed::of(&status),
            None => Executed::not_run("the connection was lost before the command had ended"),
        },
        never = drained => match never {},
    }
}

/// A command whose output nobody takes would wait for ever.
async fn drain(output: Option<impl AsyncRead + Unpin>) {
    if let Some(mut output) = output {
        // That no more comes is the end of it, however it comes to be.
        let _ = copy(&mut output, &mut sink()).await;
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use kube::Config;
    use sha1::{Digest, Sha1};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{clients::paths, core::backup::When};

    fn exec(timeout: Duration) -> Exec {
        Exec {
            when: When::Before,
            namespace: "media".to_owned(),
            pod: "app-0".to_owned(),
            container: "app".to_owned(),
            command: ["sh", "-c", "ls a?b & exit 3"].map(str::to_owned).to_vec(),
            timeout,
            title: String::new(),
        }
    }

    /// A message of a channel, as a server sends it.
    fn frame(channel: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len() + 1).unwrap();
        [&[0x82, 126], &length.to_be_bytes()[..], &[channel], data].concat()
    }

    /// Reads the head of a request.
    async fn head(stream: &mut TcpStream) -> String {
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn upgrade(stream: &mut TcpStream) -> String {
        let head = head(stream).await;
        let field = |line: &str| line.to_lowercase().strip_prefix("sec-websocket-key: ").map(|_| line[19..].to_owned());
        let key = head.lines().find_map(field).unwrap();
        let accepted = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accepted = base64::engine::general_purpose::STANDARD.encode(accepted);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accepted}\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        head
    }

    /// What comes of a command where the server sends this when it has begun, and then ends the connection, or not.
    async fn outcome(sent: Vec<u8>, ends: bool, timeout: Duration) -> (Executed, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let client = paths::client(Config::new(address.parse().unwrap())).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = upgrade(&mut stream).await;
            stream.write_all(&sent).await.unwrap();
            if !ends {
                // Until the client goes.
                while stream.read_u8().await.is_ok() {}
            }
            head
        };
        let exec = exec(timeout);
        tokio::join!(run(&client, &exec), server)
    }

    #[tokio::test]
    async fn a_command_and_how_it_ends() {
        let minute = Duration::from_mins(1);
        let loud = [frame(1, &[b'x'; 5000]), frame(2, &[b'y'; 5000])].concat().repeat(10);
        let with_status = |status: &str| [loud.clone(), frame(3, status.as_bytes())].concat();
        let (good, head) = outcome(with_status(r#"{"status": "Success"}"#), true, minute).await;
        assert_eq!(good, Executed::Succeeded);
        let line = head.lines().next().unwrap();
        let wanted = "stdout=true&stderr=true&container=app&command=sh&command=-c&command=ls+a%3Fb+%26+exit+3";
        assert_eq!(line, format!("GET /api/v1/namespaces/media/pods/app-0/exec?&{wanted} HTTP/1.1"));

        let code = r#"{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}"#;
        let (bad, _) = outcome(with_status(code), true, minute).await;
        assert_eq!(bad, Executed::Failed("ended with exit code 3".to_owned()));
        let (lost, _) = outcome(loud.clone(), true, minute).await;
        assert_eq!(lost, Executed::not_run("the connection was lost before the command had ended"));
        let (late, _) = outcome(loud.clone(), false, Duration::from_millis(200)).await;
        assert_eq!(late, Executed::Failed("did not end within 0.2 s".to_owned()));
    }

    #[tokio::test]
    async fn a_command_that_is_not_allowed() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let client = paths::client(Config::new(address.parse().unwrap())).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            let body = r#"{"kind": "Status", "status": "Failure", "code": 403, "message": "pods \"app-0\" is forbidden: User \"x\" cannot get"}"#;
            let answer = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let exec = exec(Duration::from_mins(1));
        let (denied, ()) = tokio::join!(run(&client, &exec), server);
        let Executed::NotRun(words) = denied else { panic!("{denied:?}") };
        assert!(
            words.contains("cannot run a command in Pod app-0") && words.contains("a permission is missing"),
            "{words}"
        );
    }
}

//! Whom the token is shown.

use std::{net::SocketAddr, sync::Arc};

use rustls::ServerConfig;
use serde_json::json;
use strongroom::{
    clients::connect::{Connect, FailureKind},
    core::sensitive::Sensitive,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    server::{Server, TOKEN},
    tls::Authority,
};

#[tokio::test]
async fn no_redirect_is_followed_with_the_token() {
    let (server, other) = (Server::start().await, Server::start().await);
    let client = server.client(TOKEN);
    let home = client.vaults(true).await.unwrap().value.remove(0).id;
    // To another server, and to another path of the same, which would be shown the token by most clients.
    for target in [&other.url, &server.url] {
        let before = server.count("vault.get").await;
        let location = format!("{target}/v1/vaults/{home}");
        server.fault(&json!({"fault": "redirect", "location": location, "kinds": ["vaults.list", "items.list"]})).await;
        assert_eq!(client.vaults(false).await.unwrap_err().kind, FailureKind::Alien);
        assert_eq!(client.items(&home).await.unwrap_err().kind, FailureKind::Alien);
        server.delete("/admin/faults").await;
        assert_eq!(server.count("vault.get").await, before);
    }
    assert_eq!(other.total().await, 0);
}

/// TLS in front of a server; it ends with the test.
async fn tls_front(server: &Server, config: ServerConfig) -> String {
    let behind: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust the certificate goes away here.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut inner = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut inner).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_private_ca_is_trusted_where_it_is_named_and_nowhere_else() {
    let server = Server::start().await;
    let (authority, other) = (Authority::new("127.0.0.1"), Authority::new("127.0.0.1").ca);
    let ca = &authority.ca;
    let url = tls_front(&server, authority.server()).await;
    let client = |ca: Option<&str>| Connect::new(&url, &Sensitive::from(TOKEN), ca.map(str::as_bytes)).unwrap();
    assert_eq!(client(None).vaults(true).await.unwrap_err().kind, FailureKind::Unreachable);
    assert_eq!(client(Some(&other)).vaults(true).await.unwrap_err().kind, FailureKind::Unreachable);
    assert_eq!(server.total().await, 0, "nobody was shown the token");
    assert_eq!(client(Some(ca)).vaults(true).await.unwrap().value.len(), 2);
    let both = format!("{other}{ca}");
    assert_eq!(client(Some(&both)).vaults(true).await.unwrap().value.len(), 2);
}

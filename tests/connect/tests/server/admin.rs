//! The admin side, the start and the end of the server.

use crate::common::{Server, Wire, one_item, paths};
use serde_json::{Value, json};

fn field<'a>(item: &'a Value, name: &str) -> &'a Value {
    let fields = item["fields"].as_array().unwrap();
    let named = |field: &&Value| field["label"] == name || field["id"] == name;
    fields.iter().find(named).unwrap_or(&Value::Null)
}

#[test]
fn a_seed_gives_vaults_items_and_tokens_as_written() {
    let vault = "v".repeat(26);
    let item = "i".repeat(26);
    let server = Server::start(&json!({
        "vaults": [{"id": vault, "name": "Home", "description": "at home", "items": [{
            "id": item, "title": "db", "category": "DATABASE", "tags": ["k8s"],
            "urls": ["https://db.example"], "favorite": true,
            "fields": [
                {"label": "password", "id": "password", "value": "p"},
                {"label": "API key", "type": "CONCEALED", "section": "Extra", "value": "k"},
                {"id": "port", "value": "5432"},
            ],
            "files": {"logo.png": {"base64": "AAEC"}},
        }]}],
        "tokens": [{"name": "given", "token": "a-token-of-the-test", "vaults": ["Home"]}],
    }));
    let mut wire = Wire::open(&server.connect);
    let path = format!("/v1/vaults/{vault}/items/{item}");
    let reply = wire.ask("GET", &path, "a-token-of-the-test", "").unwrap();
    let found = reply.json();
    assert_eq!(found["version"], 1);
    assert_eq!(found["favorite"], true);
    assert_eq!(found["urls"][0], json!({"label": "website", "primary": true, "href": "https://db.example"}));
    assert_eq!(field(&found, "port")["value"], "5432");
    let key = field(&found, "API key");
    assert_eq!(key["section"]["id"], found["sections"][0]["id"]);
    assert_eq!(found["sections"][0]["label"], "Extra");
    assert_eq!(found["files"][0]["size"], 3);
    assert_eq!(field(&found, "hostname").get("value"), None, "empty values are left out");
    let write = wire.ask("DELETE", &path, "a-token-of-the-test", "").unwrap();
    assert_eq!(write.status, 401, "tokens only read unless told otherwise");
}

#[test]
fn a_seed_is_applied_whole_or_not_at_all() {
    let server = Server::start(&one_item());
    let seed = json!({
        "vaults": [{"name": "New"}],
        "tokens": [{"name": "t", "vaults": ["Nowhere"]}],
    });
    assert_eq!(server.admin_reply("POST", "/seed", &seed).status, 404);
    assert_eq!(server.admin("GET", "/vaults", &Value::Null).as_array().unwrap().len(), 1);

    let seed = json!({"reset": true, "vaults": [{"name": "New"}], "tokens": [{"name": "t"}]});
    let seeded = server.admin("POST", "/seed", &seed);
    let vaults = server.admin("GET", "/vaults", &Value::Null);
    assert_eq!(vaults[0]["name"], "New");
    assert_eq!(seeded["vaults"][0]["id"], vaults[0]["id"]);
    assert_eq!(server.get("/v1/vaults").status, 401, "the old token is gone");
}

#[test]
fn items_are_put_edited_archived_and_deleted() {
    let server = Server::start(&one_item());
    let (vault, item) = paths(&server);
    let version = || server.get(&vault).json()["contentVersion"].as_u64().unwrap();
    let start = version();

    let put = json!({"title": "db", "fields": {"username": "admin", "password": "two", "API key": "k"}});
    server.admin("PUT", "/vaults/Home/items", &put);
    let first = server.get(&item).json();
    assert_eq!((first["version"].as_u64(), version()), (Some(2), start + 1));
    assert_eq!(first.get("files"), None, "a put item has what was put");
    assert_eq!(field(&first, "password")["passwordDetails"]["history"], json!(["one"]));

    let edit = json!({
        "title": "database", "tags": ["k8s"],
        "fields": {"API key": "new", "otp": "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ"},
        "files": {"a": "1", "b": "2"},
    });
    server.admin("PATCH", "/vaults/Home/items/db", &edit);
    let second = server.get(&item).json();
    assert_eq!(field(&second, "password")["value"], "two", "what is not mentioned stays");
    assert_eq!(field(&second, "API key")["id"], field(&first, "API key")["id"]);
    assert_eq!(field(&second, "otp")["totp"].as_str().unwrap().len(), 6);

    let edit = json!({"removeFields": ["otp"], "files": {"a": null, "b": "3"}});
    server.admin("PATCH", "/vaults/Home/items/database", &edit);
    let third = server.get(&item).json();
    assert_eq!(field(&third, "otp"), &Value::Null);
    assert_eq!(third["files"].as_array().unwrap().len(), 1);
    assert_ne!(third["files"][0]["id"], second["files"][1]["id"], "other bytes, another file");

    server.admin("POST", "/vaults/Home/items/database/archive", &Value::Null);
    assert_eq!(server.get(&item).json()["state"], "ARCHIVED");
    assert_eq!(server.get(&vault).json()["items"], 0);
    server.admin("POST", "/vaults/Home/items/database/restore", &Value::Null);
    assert_eq!(server.get(&vault).json()["items"], 1);
    server.admin("DELETE", "/vaults/Home/items/database", &Value::Null);
    assert_eq!(server.get(&item).status, 404);
    assert_eq!(version(), start + 6);
}

#[test]
fn titles_can_be_ambiguous() {
    let server = Server::start(&one_item());
    let (vault, _) = paths(&server);
    server.admin("PUT", "/vaults/Home/items", &json!({"title": "db", "duplicate": true}));
    let found = server.get(&format!("{vault}/items?filter=title+eq+%22db%22")).json();
    assert_eq!(found.as_array().unwrap().len(), 2);
    let reply = server.admin_reply("PUT", "/vaults/Home/items", &json!({"title": "db"}));
    assert_eq!(reply.status, 409);
    server.admin("POST", "/vaults", &json!({"name": "Home"}));
    assert_eq!(server.admin_reply("GET", "/vaults/Home/items", &Value::Null).status, 409);
}

#[test]
fn tokens_expire_and_are_revoked() {
    let server = Server::start(&one_item());
    let status = |token: &Value| {
        let token = token["token"].as_str().unwrap();
        Wire::open(&server.connect).ask("GET", "/v1/vaults", token, "").unwrap().status
    };
    let issue = |spec: Value| server.admin("POST", "/tokens", &spec);
    let late = issue(json!({"name": "late", "expiresIn": -1}));
    let one = issue(json!({"name": "one", "expiresIn": 600}));
    let two = issue(json!({"name": "two"}));
    assert_eq!([&late, &one, &two].map(status), [401, 200, 200]);
    server.admin("POST", "/tokens/one/expire", &Value::Null);
    server.admin("POST", "/tokens/two/revoke", &Value::Null);
    assert_eq!([&one, &two].map(status), [401, 401]);
    let replaced = issue(json!({"name": "two"}));
    assert_eq!([&two, &replaced].map(status), [401, 200]);
}

#[test]
fn requests_are_counted_by_kind_and_by_identifier() {
    let server = Server::start(&one_item());
    let (vault, item) = paths(&server);
    server.admin("DELETE", "/counts", &Value::Null);
    let mut wire = Wire::open(&server.connect);
    for path in ["/v1/vaults", "/v1/vaults/", &format!("{vault}/items"), &item, &item, "/heartbeat", "/x"] {
        wire.ask("GET", path, &server.token, "").unwrap();
    }
    let id = item.rsplit('/').next().unwrap();
    let counts = server.admin("DELETE", "/counts", &Value::Null);
    let kinds = json!({"vaults.list": 2, "items.list": 1, "item.get": 2, "heartbeat": 1, "unknown": 1});
    assert_eq!(counts["total"], 7);
    assert_eq!(counts["kinds"], kinds);
    assert_eq!(counts["items"], json!({id: 2}));
    assert_eq!(counts["detail"]["item.get"], json!({id: 2}));
    assert_eq!(counts["statuses"], json!({"200": 6, "404": 1}));
    assert_eq!(counts["tokens"], json!({"all": 7}));
    assert_eq!((&counts["connections"], &counts["maxInFlight"]), (&json!(1), &json!(1)));
    assert_eq!(server.admin("GET", "/counts", &Value::Null)["total"], 0);
}

#[test]
fn health_is_unsynchronised_until_a_valid_token_is_shown() {
    let server = Server::start(&one_item());
    let health = |token: &str| {
        let reply = Wire::open(&server.connect).ask("GET", "/health", token, "").unwrap();
        assert_eq!(reply.status, 200);
        reply.text().contains("NOT_SYNCED")
    };
    assert!(health("gibberish"));
    assert!(!health(&server.token), "a token on this very request initialises");
    assert!(!health("gibberish"));
}

#[test]
fn what_is_wrong_is_said() {
    let server = Server::start(&one_item());
    for (method, path, body, status) in [
        ("PUT", "/vaults/Home/items", json!({"fields": {}}), 400),
        ("PUT", "/vaults/Home/items", json!({"title": "x", "categroy": "LOGIN"}), 400),
        ("PUT", "/vaults/Home/items", json!({"title": "x", "category": "NONE"}), 400),
        ("PUT", "/vaults/Home/items", json!({"title": "x", "files": {"a": {"base64": "?"}}}), 400),
        ("PUT", "/vaults/Nowhere/items", json!({"title": "x"}), 404),
        ("PATCH", "/vaults/Home/items/nothing", json!({"title": "x"}), 404),
        ("POST", "/vaults", json!({"name": "x", "id": "short"}), 400),
        ("POST", "/vaults/Home/items/db/explode", json!({}), 404),
        ("DELETE", "/faults/f9", json!(null), 404),
    ] {
        let reply = server.admin_reply(method, path, &body);
        assert_eq!(reply.status, status, "{method} {path} {body}: {reply:?}");
        assert!(reply.json()["error"].is_string());
    }
}

#[test]
fn a_signal_ends_the_server_also_while_a_request_hangs() {
    let server = Server::start(&one_item());
    server.admin("POST", "/faults", &json!({"fault": "hang", "kinds": ["vaults.list"]}));
    let mut wire = Wire::open(&server.connect);
    wire.patience(std::time::Duration::from_millis(100));
    wire.ask("GET", "/v1/vaults", &server.token, "").unwrap_err();
    assert!(server.terminate().success());
}

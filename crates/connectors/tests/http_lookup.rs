//! Looking up over HTTP, from a real server.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

mod http;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, Server, response};
use inflight_connectors::http::{HttpBatch, HttpLookup, HttpLookupConfig};
use inflight_connectors::{Answer, Error, ErrorKind, Key};
use serde_json::{Value, json};

/// What people know about the users 1 and 7.
async fn users(request: Request) -> Response {
    match request.target.as_str() {
        "/users/1" => response(200, r#"{"user": {"id": 1, "name": "Ada"}}"#),
        "/users/7" => response(200, r#"{"user": {"id": 7, "name": "Zoë"}}"#),
        "/users/null" => response(200, r#"{"user": null}"#),
        "/users/html" => response(200, "<html>"),
        "/users/busy" => {
            let mut busy = response(429, "");
            busy.headers_mut().insert("retry-after", "3".parse().unwrap());
            busy
        }
        "/users/down" => response(500, "hunter2"),
        "/users/wrong" => response(422, "hunter2"),
        "/users/moved" => response(302, ""),
        "/users/long" => response(200, format!("\"{}\"", "x".repeat(100_000))),
        _ => response(404, ""),
    }
}

fn config(server: &Server, path: &str) -> HttpLookupConfig {
    HttpLookupConfig { answer: Some(".user".parse().unwrap()), ..HttpLookupConfig::new(server.url(path)) }
}

fn connect(config: &HttpLookupConfig, key: &[&str]) -> Result<HttpLookup, Error> {
    HttpLookup::connect(config, &key.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn ask(server: &Server, lookup: &HttpLookup, keys: Value) -> Vec<Answer> {
    let keys: Vec<Key> = serde_json::from_value(keys).unwrap();
    server.wait(lookup.lookup(&keys)).unwrap()
}

/// What was found, a missing one as null.
fn found(server: &Server, lookup: &HttpLookup, keys: Value) -> Value {
    ask(server, lookup, keys).into_iter().map(|answer| answer.unwrap().unwrap_or_default()).collect()
}

#[test]
fn each_key_is_answered_in_order_and_a_missing_one_is_not_an_error() {
    let server = Server::start(users);
    let lookup = connect(&config(&server, "/users/{id}"), &["id"]).unwrap();
    let keys = json!([[7], [8], [null], ["1"], ["null"], ["a/b?c"]]);
    let (ada, zoe) = (json!({"id": 1, "name": "Ada"}), json!({"id": 7, "name": "Zoë"}));
    assert_eq!(found(&server, &lookup, keys), json!([zoe, null, null, ada, null, null]));
    let targets: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert!(targets.contains(&"/users/a%2Fb%3Fc".to_owned()) && targets.len() == 5, "{targets:?}");
    let error = server.wait(lookup.lookup(&[vec![]])).unwrap_err();
    assert!(error.to_string().contains("a key has 0 values for the columns \"id\""), "{error}");
}

#[test]
fn statuses_say_what_to_do() {
    let server = Server::start(users);
    let lookup = connect(&HttpLookupConfig { max_answer_bytes: 1_000, ..config(&server, "/users/{id}") }, &["id"]);
    let keys = ["busy", "down", "wrong", "moved", "html", "long"];
    let answers = ask(&server, &lookup.unwrap(), json!(keys.map(|key| [key])));
    let errors: Vec<Error> = answers.into_iter().map(Result::unwrap_err).collect();
    let kinds: Vec<(ErrorKind, bool)> = errors.iter().map(|error| (error.kind(), error.is_retryable())).collect();
    let expected = [
        (ErrorKind::Busy, true),
        (ErrorKind::Unavailable, true),
        (ErrorKind::Malformed, false),
        (ErrorKind::Config, false),
        (ErrorKind::Malformed, false),
        (ErrorKind::TooLong, false),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(errors[0].retry_after(), Some(Duration::from_secs(3)));
    let read: Error = serde_json::from_str(&serde_json::to_string(&errors[0]).unwrap()).unwrap();
    assert_eq!(read.retry_after(), errors[0].retry_after());
    assert!(errors[1].to_string().contains("the service answers 500 (Internal Server Error); "), "{}", errors[1]);
    assert!(errors.iter().all(|error| error.to_string().starts_with("127.0.0.1:")), "{errors:?}");
    let only_wrong = HttpLookupConfig { missing: vec![422], ..config(&server, "/users/{id}") };
    let answers = ask(&server, &connect(&only_wrong, &["id"]).unwrap(), json!([["wrong"], ["unknown"]]));
    assert!(matches!(answers.as_slice(), [Ok(None), Err(_)]), "{answers:?}");
}

#[test]
fn requests_carry_method_headers_and_body() {
    let server =
        Server::start(|request: Request| async move { response(200, json!({"user": request.body}).to_string()) });
    let url = server.url("/find?kind={kind}").replace("http://", "http://me:hunter2@");
    let config = HttpLookupConfig {
        headers: [("x-api-key".to_owned(), "hunter3".into())].into(),
        body: Some(json!({"id": "{id}", "name": "{kind}-{id}", "fixed": [true, "{{}}"]})),
        ..HttpLookupConfig { url: url.into(), ..config(&server, "") }
    };
    let lookup = connect(&config, &["id", "kind"]).unwrap();
    let expected = json!([{"id": 7, "name": "a b-7", "fixed": [true, "{}"]}]);
    assert_eq!(found(&server, &lookup, json!([[7, "a b"]])), expected);
    let Request { method, target, headers, .. } = server.requests().remove(0);
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/find?kind=a%20b"));
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("x-api-key").as_deref(), Some("hunter3"));
    assert_eq!(header("authorization").as_deref(), Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert!(header("accept-encoding").unwrap().contains("gzip"));
    assert!(!format!("{lookup:?}").contains("hunter"), "{lookup:?}");
}

#[test]
fn packed_answers_are_unpacked_up_to_the_limit() {
    let server = Server::start(|request: Request| async move {
        let length = if request.target == "/1" { 10 } else { 10_000_000 };
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(json!({"user": "x".repeat(length)}).to_string().as_bytes()).unwrap();
        let mut packed = response(200, gzip.finish().unwrap());
        packed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        packed
    });
    let config = HttpLookupConfig { max_answer_bytes: 1_000_000, ..config(&server, "/{id}") };
    let answers = ask(&server, &connect(&config, &["id"]).unwrap(), json!([[1], [2]]));
    assert_eq!(answers[0].as_ref().unwrap(), &Some(json!("x".repeat(10))));
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::TooLong);
}

#[test]
fn never_more_requests_than_allowed_and_connections_are_used_again() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of_now, of_most) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |_| {
        let (now, most) = (Arc::clone(&of_now), Arc::clone(&of_most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            response(200, "{}")
        }
    });
    let config = HttpLookupConfig { connections: 3, answer: None, ..config(&server, "/{id}") };
    let lookup = connect(&config, &["id"]).unwrap();
    let keys: Vec<Key> = (0..100).map(|id| vec![json!(id)]).collect();
    let answers = server.wait(lookup.lookup(&keys)).unwrap();
    assert!(answers.iter().all(|answer| *answer.as_ref().unwrap() == Some(json!({}))));
    assert_eq!(most.load(Ordering::SeqCst), 3);
    // A connection may come back a moment after the permit of its request.
    assert!(server.connections() < 50, "{}", server.connections());
}

/// Answers for all users under 10 that are asked for, except for a list with 13 in it.
async fn many_users(request: Request) -> Response {
    let ids: Vec<u64> = match request.target.split_once("ids=") {
        Some((_, ids)) => ids.split(',').map(|id| id.parse().unwrap()).collect(),
        None => request.body["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect(),
    };
    let users: Vec<Value> = ids.iter().rev().filter(|id| **id < 10).map(|id| json!({"user": {"id": id}})).collect();
    if ids.contains(&13) { response(500, "") } else { response(200, json!({"users": users}).to_string()) }
}

#[test]
fn an_endpoint_for_many_keys_gets_few_requests() {
    let server = Server::start(many_users);
    let batch = HttpBatch {
        keys: Some(4),
        answers: Some(".users".parse().unwrap()),
        key: [("id".to_owned(), ".user.id".parse().unwrap())].into(),
    };
    let by_url = HttpLookupConfig { batch: Some(batch), ..config(&server, "/users?ids={id}") };
    let by_body = HttpLookupConfig {
        body: Some(json!({"ids": "{id}"})),
        ..HttpLookupConfig { url: server.url("/users").into(), ..by_url.clone() }
    };
    for config in [by_url, by_body] {
        let before = server.requests().len();
        let lookup = connect(&config, &["id"]).unwrap();
        let expected = json!([{"id": 3}, null, null, {"id": 1}, {"id": 3}, {"id": 2}]);
        assert_eq!(found(&server, &lookup, json!([[3], [null], [11], [1], [3], [2]])), expected);
        assert_eq!(server.requests().len() - before, 2);
        let answers = ask(&server, &lookup, json!([[1], [2], [3], [4], [13], [5]]));
        assert!(answers[..4].iter().all(Result::is_ok) && answers[4..].iter().all(Result::is_err), "{answers:?}");
        let error = server.wait(lookup.lookup(&[vec![json!(13)], vec![json!(1)]])).unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
}

#[test]
fn what_does_not_answer_is_said_at_once() {
    let server = Server::start(|request: Request| async move {
        match request.headers.contains_key("authorization") {
            true => users(request).await,
            false => response(401, ""),
        }
    });
    let check = |config: &HttpLookupConfig| server.wait(HttpLookup::check_connect(config, &["id".to_owned()]));
    let error = check(&config(&server, "/users/{id}")).unwrap_err();
    assert!(error.kind() == ErrorKind::Permission && error.to_string().contains("401 (Unauthorized)"), "{error}");
    let known = server.url("/users/{id}").replace("http://", "http://me:hunter2@");
    check(&HttpLookupConfig::new(&known)).unwrap();
    check(&HttpLookupConfig { body: Some(json!({})), ..HttpLookupConfig::new(&known) }).unwrap();
    assert!(server.requests().iter().all(|request| request.method == "GET"));
    let nobody = HttpLookupConfig::new("http://me:hunter2@127.0.0.1:1/{id}?token=hunter2");
    let error = check(&nobody).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    assert!(error.to_string().starts_with("127.0.0.1:1: cannot ask: "), "{error}");
    let shown = format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_slow_answer_is_given_up_and_a_broken_one_is_worth_another_attempt() {
    let server = Server::start(|request: Request| async move {
        if request.target == "/slow" {
            std::future::pending::<()>().await;
        }
        let mut cut = response(200, "{}");
        cut.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        if request.target == "/broken" { cut } else { response(200, "{}") }
    });
    let lookup = connect(&HttpLookupConfig { connections: 1, ..HttpLookupConfig::new(server.url("/{id}")) }, &["id"]);
    let lookup = lookup.unwrap();
    let keys = [vec![json!("slow")]];
    let asked = async { tokio::time::timeout(Duration::from_millis(50), lookup.lookup(&keys)).await };
    assert!(server.wait(asked).is_err());
    // The one permit is free again.
    assert_eq!(found(&server, &lookup, json!([["fast"]])), json!([{}]));
    let error = ask(&server, &lookup, json!([["broken"]])).remove(0).unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[test]
fn a_connection_is_encrypted_for_a_server_that_is_trusted() {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let folder = tempfile::tempdir().unwrap();
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| folder.path().join(name));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"])
        .args(["subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .args([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("!!! SKIPPED: openssl makes no certificate");
        return;
    }
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
    let server_config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&key).unwrap())
        .unwrap();
    let server = Server::with_tls(Some(Arc::new(server_config).into()), users);
    let config = |host: &str| HttpLookupConfig {
        ca_file: Some(certificate.clone()),
        ..HttpLookupConfig::new(format!("https://{host}:{}/users/{{id}}", server.address.port()))
    };
    let lookup = connect(&config("localhost"), &["id"]).unwrap();
    assert_eq!(found(&server, &lookup, json!([[1]]))[0]["user"]["name"], "Ada");
    for config in [config("127.0.0.1"), HttpLookupConfig { ca_file: None, ..config("localhost") }] {
        let error = ask(&server, &connect(&config, &["id"]).unwrap(), json!([[1]])).remove(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    }
}

//! Users of a real NATS who prove themselves with keys.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, but not the functions they call")]

mod nats_server;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, stream};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inflight_connectors::nats::{NatsConfig, NatsSink, NatsSinkConfig, NatsSource, NatsSourceConfig, Until};
use inflight_connectors::{ErrorKind, Sink, Source};
use nats_server::Own;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Records go to a stream of this server, and come from it.
fn goes_through(server: &NatsConfig, options: ConnectOptions) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let context = jetstream::new(options.connect(server.url.reveal()).await.unwrap());
        let subjects = vec!["users.>".to_owned()];
        context.create_stream(stream::Config { name: "users".into(), subjects, ..Default::default() }).await.unwrap();
    });
    let sink = NatsSinkConfig { server: server.clone(), ..NatsSinkConfig::new("", "users.new") };
    let mut sink = Box::new(NatsSink::open(&sink).unwrap());
    (0..10).for_each(|n| sink.write(json!({ "n": n }).as_object().unwrap()).unwrap());
    sink.finish().unwrap();
    // The stream is that which listens to the subject.
    let source = NatsSourceConfig { server: server.clone(), until: Some(Until::End), ..NatsSourceConfig::new("", "") };
    let mut source = NatsSource::open(&NatsSourceConfig { subject: Some("users.new".to_owned()), ..source }).unwrap();
    let mut read = Vec::new();
    while source.read_batch(100, &mut read).unwrap() > 0 {}
    assert_eq!(
        read.iter().map(|record| record["n"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
}

/// Nobody gets in like this, and the sentence about it has no secret.
fn is_refused(server: &NatsConfig, kind: ErrorKind, secret: &str) {
    let error = NatsSink::open(&NatsSinkConfig { server: server.clone(), ..NatsSinkConfig::new("", "users.new") });
    let error = error.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(!format!("{error} {error:?} {server:?}").contains(secret), "{error:?}");
}

#[test]
fn a_user_is_known_by_a_key() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key());
    let Some(own) = Own::configured(&users) else { return };
    let seed = |pair: &KeyPair| pair.seed().unwrap();
    let server = |pair| NatsConfig { nkey: Some(seed(pair).into()), ..NatsConfig::new(own.url()) };
    goes_through(&server(&user), ConnectOptions::with_nkey(seed(&user)));
    is_refused(&server(&stranger), ErrorKind::Permission, &seed(&stranger));
    is_refused(&NatsConfig::new(own.url()), ErrorKind::Permission, "SU");
}

#[test]
fn a_user_has_a_credentials_file() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1 });
    let operator_says = jwt(&operator, &operator, json!({ "type": "operator", "version": 2 }));
    let account_is = jwt(&operator, &account, json!({ "type": "account", "version": 2, "limits": limits }));
    let user_is = jwt(&account, &user, json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }));
    // The server's own.
    let system = KeyPair::new_account();
    let system_is =
        jwt(&operator, &system, json!({ "type": "account", "version": 2, "limits": { "subs": -1, "conn": -1 } }));
    let (account, system) = (account.public_key(), system.public_key());
    let trust = format!(
        "operator: {operator_says}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {account}: {account_is}, {system}: {system_is} }}"
    );
    let Some(own) = Own::configured(&trust) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, seed) = (folder.path().join("user.creds"), user.seed().unwrap());
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{user_is}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(&file, &credentials).unwrap();
    let server = NatsConfig { credentials: Some(file.clone()), ..NatsConfig::new(own.url()) };
    goes_through(&server, ConnectOptions::with_credentials(&credentials).unwrap());
    std::fs::write(&file, format!("{seed}\n")).unwrap();
    is_refused(&server, ErrorKind::Config, &seed);
    is_refused(&NatsConfig { credentials: Some(folder.path().join("no.creds")), ..server }, ErrorKind::NotFound, &seed);
}

/// What `issuer` says about `subject`, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = json!({ "jti": "test", "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test",
        "nats": nats });
    let said = format!("{header}.{}", part(claims));
    let signature = issuer.sign(said.as_bytes()).unwrap();
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(signature))
}

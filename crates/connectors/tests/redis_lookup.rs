//! Looking up in a real Redis.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

mod redis;

use std::time::Duration;

use inflight_connectors::redis::{RedisLookup, RedisLookupConfig, RedisValue};
use inflight_connectors::{Answer, Error, ErrorKind, Key};
use redis::{Between, Own, Redis};
use serde_json::{Value, json};

fn connect(server: &Redis, config: &RedisLookupConfig, key: &[&str]) -> Result<RedisLookup, Error> {
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    server.wait(RedisLookup::connect(config, &key))
}

fn ask(server: &Redis, lookup: &RedisLookup, keys: Value) -> Vec<Answer> {
    let keys: Vec<Key> = serde_json::from_value(keys).unwrap();
    server.wait(lookup.lookup(&keys)).unwrap()
}

/// What was found, a missing one as null.
fn found(server: &Redis, lookup: &RedisLookup, keys: Value) -> Value {
    ask(server, lookup, keys).into_iter().map(|answer| answer.unwrap().unwrap_or_default()).collect()
}

#[test]
fn each_key_is_answered_in_order_and_a_missing_one_is_not_an_error() {
    let Some(mut server) = Redis::shared() else { return };
    server.set("order:1", r#"{"name":"Ada","tier":null}"#);
    server.set("order:7", r#"{"name":"Zoë"}"#);
    server.set("order:a b:7", "[1, 2]");
    let (ada, zoe) = (json!({"name": "Ada", "tier": null}), json!({"name": "Zoë"}));
    let lookup = connect(&server, &RedisLookupConfig::get(&server.url, "order:{id}"), &["id"]).unwrap();
    let keys = json!([[7], [8], [null], ["1"], [7], [1]]);
    assert_eq!(found(&server, &lookup, keys), json!([zoe, null, null, ada, zoe, ada]));
    assert_eq!(found(&server, &lookup, json!([])), json!([]));
    let error = server.wait(lookup.lookup(&[vec![]])).unwrap_err();
    assert!(error.to_string().contains("a key has 0 values for the columns \"id\""), "{error}");

    let both = connect(&server, &RedisLookupConfig::get(&server.url, "order:{kind}:{id}"), &["id", "kind"]).unwrap();
    assert_eq!(found(&server, &both, json!([[7, "a b"], [8, "a b"], [7, null]])), json!([[1, 2], null, null]));
}

#[test]
fn what_is_no_string_or_no_json_fails_alone_and_is_not_missing() {
    let Some(mut server) = Redis::shared() else { return };
    server.set("poison:1", "17");
    server.set("poison:2", "Ada");
    server.run("DEL poison:3 poison:4");
    server.run("RPUSH poison:3 a b");
    let json = RedisLookupConfig::get(&server.url, "poison:{id}");
    let lookup = connect(&server, &json, &["id"]).unwrap();
    let answers = ask(&server, &lookup, json!([[1], [2], [3], [4], [[1]]]));
    assert_eq!(answers[0].as_ref().unwrap(), &Some(json!(17)));
    let errors = [1, 2, 4].map(|index| answers[index].as_ref().unwrap_err());
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Malformed && !error.is_retryable()), "{errors:?}");
    assert!(errors[0].to_string().contains("\"poison:2\" is not JSON"), "{}", errors[0]);
    assert!(errors[1].to_string().contains("cannot get \"poison:3\": WRONGTYPE"), "{}", errors[1]);
    assert!(errors[2].to_string().contains("cannot be a key"), "{}", errors[2]);
    assert_eq!(answers[3].as_ref().unwrap(), &None);

    let text = connect(&server, &RedisLookupConfig { value: Some(RedisValue::Text), ..json }, &["id"]).unwrap();
    assert_eq!(found(&server, &text, json!([[1], [2], [4]])), json!(["17", "Ada", null]));
}

#[test]
fn hashes_are_objects_of_all_fields_or_of_some() {
    let Some(mut server) = Redis::shared() else { return };
    server.run("HSET hash:1 name Ada tier gold age 36");
    server.run("HSET hash:2 name Bob");
    server.run("HSET hash:3 other x");
    server.set("hash:4", "no hash");
    server.run("DEL hash:5");
    let all = RedisLookupConfig::hash(&server.url, "hash:{id}");
    let lookup = connect(&server, &all, &["id"]).unwrap();
    assert_eq!(
        found(&server, &lookup, json!([[2], [5], [1]])),
        json!([{"name": "Bob"}, null, {"name": "Ada", "tier": "gold", "age": "36"}])
    );
    let some = RedisLookupConfig { fields: Some(vec!["tier".to_owned(), "name".to_owned()]), ..all.clone() };
    let lookup = connect(&server, &some, &["id"]).unwrap();
    let answers = ask(&server, &lookup, json!([[1], [2], [3], [4], [5]]));
    assert_eq!(answers[0].as_ref().unwrap(), &Some(json!({"tier": "gold", "name": "Ada"})));
    assert_eq!(answers[1].as_ref().unwrap(), &Some(json!({"tier": null, "name": "Bob"})));
    assert_eq!((answers[2].as_ref().unwrap(), answers[4].as_ref().unwrap()), (&None, &None));
    let error = answers[3].as_ref().unwrap_err();
    assert!(error.to_string().contains("cannot get the hash \"hash:4\": WRONGTYPE"), "{error}");

    let numbers =
        RedisLookupConfig { fields: Some(vec!["age".to_owned()]), value: Some(RedisValue::Json), ..all.clone() };
    let lookup = connect(&server, &numbers, &["id"]).unwrap();
    assert_eq!(found(&server, &lookup, json!([[1]])), json!([{"age": 36}]));
    let json = connect(&server, &RedisLookupConfig { value: Some(RedisValue::Json), ..all }, &["id"]).unwrap();
    let error = ask(&server, &json, json!([[2]])).remove(0).unwrap_err();
    assert_eq!((error.kind(), error.place().field.as_deref()), (ErrorKind::Malformed, Some("name")), "{error}");
}

#[test]
fn what_does_not_fit_the_server_is_said_at_once() {
    let Some(mut server) = Redis::shared() else { return };
    server.run("ACL SETUSER stranger reset on >pw ~others:* +@read +@connection");
    server.run("ACL SETUSER writer reset on >pw ~* +@write +@connection");
    let get = |url: &str| RedisLookupConfig::get(url, "misfit:{id}");
    let hash = |url: &str| RedisLookupConfig::hash(url, "misfit:{id}");
    let as_other = |user: &str| server.url.replace(":of-the-test-server", user);
    for (config, key, kind, expected) in [
        (get(&as_other(":hunter2")), "id", ErrorKind::Permission, "check the user and the password"),
        (get(&as_other("me:hunter2")), "id", ErrorKind::Permission, "check the user and the password"),
        (get(&as_other("").replace('@', "")), "id", ErrorKind::Permission, "check the user and the password"),
        (get(&as_other("stranger:pw")), "id", ErrorKind::Permission, "ACL SETUSER"),
        (hash(&as_other("stranger:pw")), "id", ErrorKind::Permission, "ACL SETUSER"),
        (get(&as_other("writer:pw")), "id", ErrorKind::Permission, "ACL SETUSER"),
        (get(&format!("{}/999", server.url)), "id", ErrorKind::Config, "number of the database"),
        (get(&server.url), "ident", ErrorKind::Config, "\"{id}\" is no column of the key"),
        (get("redis://me:hunter2@127.0.0.1:1"), "id", ErrorKind::Unavailable, "127.0.0.1:1: cannot connect"),
        (get(&server.url.replace("redis:", "rediss:")), "id", ErrorKind::Unavailable, "cannot connect"),
    ] {
        let error = connect(&server, &config, &[key]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("of-the-test-server") && !shown.contains("hunter2"), "{shown}");
    }
    let two = RedisLookupConfig::get(&server.url, "misfit:{a}");
    let error = connect(&server, &two, &["a", "b"]).unwrap_err();
    assert!(error.to_string().contains("the key column \"b\" is not used"), "{error}");
    let allowed = RedisLookupConfig::get(as_other("stranger:pw"), "others:{id}");
    server.wait(RedisLookup::check_connect(&allowed, &["id".to_owned()])).unwrap();
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let Some(mut own) = Own::start(&[]) else { return };
    let mut server = Redis::at(&own.url());
    server.set("back:1", "1");
    let lookup = connect(&server, &RedisLookupConfig::get(own.url(), "back:{id}"), &["id"]).unwrap();
    assert_eq!(found(&server, &lookup, json!([[1]])), json!([1]));
    server.run("CLIENT KILL TYPE normal");
    assert_eq!(found(&server, &lookup, json!([[1]])), json!([1])); // the connection is gone, the look-up is not
    own.kill();
    let error = server.wait(lookup.lookup(&[vec![json!(1)]])).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    own.restart();
    let mut server = Redis::at(&own.url());
    server.set("back:1", "2");
    assert_eq!(found(&server, &lookup, json!([[1], [2]])), json!([2, null]));
}

#[test]
fn a_connection_that_has_fallen_silent_is_given_up() {
    let Some(own) = Own::start(&[]) else { return };
    let mut server = Redis::at(&own.url());
    server.set("silent:1", "1");
    let between = Between::to(own.port);
    let url = format!("redis://127.0.0.1:{}", between.port);
    let config = RedisLookupConfig { connections: 1, ..RedisLookupConfig::get(url, "silent:{id}") };
    let lookup = connect(&server, &config, &["id"]).unwrap();
    between.silence();
    let keys = [vec![json!(1)]];
    for _ in 0..3 {
        let asked = async { tokio::time::timeout(Duration::from_millis(50), lookup.lookup(&keys)).await };
        assert!(server.wait(asked).is_err());
    }
    assert_eq!(found(&server, &lookup, json!([[1]])), json!([1]));
}

#[test]
fn many_at_once_share_a_few_connections() {
    let Some(own) = Own::start(&[]) else { return };
    let mut server = Redis::at(&own.url());
    for n in 0..1_000_u64 {
        server.set(&format!("many:{n}"), &format!("{{\"square\":{}}}", n * n));
    }
    let config = RedisLookupConfig { connections: 3, ..RedisLookupConfig::get(own.url(), "many:{n}") };
    let lookup = connect(&server, &config, &["n"]).unwrap();
    let check = |keys: &[Key], answers: Vec<Answer>| {
        for (key, answer) in keys.iter().zip(answers) {
            let n = key[0].as_u64().unwrap();
            assert_eq!(answer.unwrap(), (n < 1_000).then(|| json!({"square": n * n})));
        }
    };
    let answers = server.wait(async {
        let ask = |call: u64| {
            let keys: Vec<Key> = (0..100).map(|n| vec![json!((call * 7919 + n * 31) % 1_200)]).collect();
            let lookup = &lookup;
            async move { (keys.clone(), lookup.lookup(&keys).await.unwrap()) }
        };
        futures_util::future::join_all((0..200).map(ask)).await
    });
    answers.into_iter().for_each(|(keys, answers)| check(&keys, answers));
    let clients = format!("{:?}", server.run("CLIENT LIST")).matches("addr=").count() / 2; // laddr= as well
    assert_eq!(clients, 1 + 3);
    let keys: Vec<Key> = (0..10_000).map(|n| vec![json!(n)]).collect();
    check(&keys, server.wait(lookup.lookup(&keys)).unwrap());
}

#[test]
fn a_cluster_is_asked_as_a_whole() {
    let nodes: Option<Vec<Own>> = (0..3).map(|_| Own::start(&["--cluster-enabled", "yes"])).collect();
    let Some(nodes) = nodes else { return };
    let mut servers: Vec<Redis> = nodes.iter().map(|node| Redis::at(&node.url())).collect();
    for (index, server) in servers.iter_mut().enumerate() {
        let first = index * 5462;
        server.run(&format!("CLUSTER ADDSLOTSRANGE {first} {}", (first + 5461).min(16_383)));
        server.run(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port));
    }
    let is_whole = |server: &mut Redis| {
        let info = format!("{:?}", server.run("CLUSTER INFO"));
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    for server in &mut servers {
        let mut looks = 0;
        while !is_whole(server) {
            looks += 1;
            assert!(looks < 1_200, "the cluster never came together");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let own = |server: &Redis, id: u64| {
        let config = RedisLookupConfig::get(&server.url, "c:{id}");
        connect(server, &config, &["id"]).and_then(|lookup| server.wait(lookup.lookup(&[vec![json!(id)]])))
    };
    let error = (0..10).find_map(|id| own(&servers[0], id).err()).unwrap();
    assert!(error.to_string().contains("write `cluster: true`"), "{error}");

    let dead = RedisLookupConfig { cluster: true, ..RedisLookupConfig::get("redis://127.0.0.1:1", "c:{id}") };
    let config = RedisLookupConfig { nodes: vec![nodes[1].url().replace("redis://", "")], ..dead };
    let mut client = servers[0].wait(async {
        let urls: Vec<String> = nodes.iter().map(Own::url).collect();
        ::redis::cluster::ClusterClient::new(urls).unwrap().get_async_connection().await.unwrap()
    });
    servers[0].wait(async {
        for n in 0..100 {
            ::redis::cmd("SET").arg(format!("c:{n}")).arg(n).exec_async(&mut client).await.unwrap();
            ::redis::cmd("HSET").arg(format!("h:{n}")).arg("n").arg(n).exec_async(&mut client).await.unwrap();
        }
        ::redis::cmd("RPUSH").arg("c:100").arg("x").exec_async(&mut client).await.unwrap();
    });
    let lookup = connect(&servers[0], &config, &["id"]).unwrap();
    let keys: Vec<Value> = (0..=101).map(|n| json!([n])).collect();
    let mut answers = ask(&servers[0], &lookup, json!(keys));
    assert_eq!(answers.pop().unwrap().unwrap(), None);
    let error = answers.pop().unwrap().unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    answers.into_iter().enumerate().for_each(|(n, answer)| assert_eq!(answer.unwrap(), Some(json!(n))));
    let config = RedisLookupConfig { get: None, hash: Some("h:{id}".to_owned()), ..config };
    let lookup = connect(&servers[0], &config, &["id"]).unwrap();
    let answers = ask(&servers[0], &lookup, json!(keys));
    assert_eq!(answers[99].as_ref().unwrap(), &Some(json!({"n": "99"})));
    assert_eq!(answers[100].as_ref().unwrap(), &None);
}

#[test]
fn a_connection_is_encrypted_for_a_server_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| folder.path().join(name).display().to_string());
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"])
        .args(["subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("!!! SKIPPED: openssl makes no certificate");
        return;
    }
    let port = redis::free_port().to_string();
    let settings = ["--tls-port", &port, "--tls-auth-clients", "no", "--tls-cert-file", &certificate];
    let Some(own) = Own::start(&[&settings[..], &["--tls-key-file", &key]].concat()) else { return };
    let mut server = Redis::at(&own.url());
    server.set("tls:1", "1");
    let config = |host: &str| RedisLookupConfig {
        ca_file: Some(certificate.clone().into()),
        ..RedisLookupConfig::get(format!("rediss://{host}:{port}"), "tls:{id}")
    };
    let lookup = connect(&server, &config("localhost"), &["id"]).unwrap();
    assert_eq!(found(&server, &lookup, json!([[1]])), json!([1]));
    for config in [config("127.0.0.1"), RedisLookupConfig { ca_file: None, ..config("localhost") }] {
        let error = connect(&server, &config, &["id"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    }
    let error = connect(&server, &RedisLookupConfig { ca_file: Some(key.into()), ..config("localhost") }, &["id"]);
    assert!(error.unwrap_err().to_string().contains("there is no certificate in it"));
}

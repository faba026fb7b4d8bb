//! `inflight schema`: valid, and complete.

use serde_json::Value;

use crate::workspace::{SEVEN_LINES, Workspace};

fn schema() -> Value {
    let ran = Workspace::new().run(&["schema"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Every group of the schema that describes keys, wherever it stands.
fn key_groups<'a>(schema: &'a Value, groups: &mut Vec<&'a serde_json::Map<String, Value>>) {
    match schema {
        Value::Object(object) => {
            let group = object.get("properties").and_then(Value::as_object);
            // One of the keys is called `properties` itself.
            groups.extend(group.filter(|group| !group.contains_key("additionalProperties")));
            object.values().for_each(|value| key_groups(value, groups));
        }
        Value::Array(list) => list.iter().for_each(|value| key_groups(value, groups)),
        _ => {}
    }
}

#[test]
fn every_key_is_there() {
    let schema = schema();
    let mut groups = Vec::new();
    key_groups(&schema, &mut groups);
    let keys: Vec<&String> = groups.iter().flat_map(|group| group.keys()).collect();
    let expected = "source setup enrich sink dead_letter file stdin stdout path format compression delimiter null columns \
                    max_line_bytes sqlite database tables csv table query busy_timeout key order capacity concurrency \
                    timeout deadline retries max backoff on batch size linger on_missing on_error default checkpoint dir \
                    paths every keep replay workers cluster hosts process connect_within silent_after \
                    create postgres url host port user password dbname sslmode sslrootcert rows connections \
                    statement_timeout mysql redis ca_file cluster nodes get hash fields value http \
                    method headers body answer missing keys answers max_answer_bytes memory max_rows \
                    single_flight cache entries ttl missing_ttl stale_for hedge delay rate_limit rate burst per_key \
                    breaker failures window min_calls open_for probes destination budget min kafka nats token ca stream subject consumer \
                    start until on_malformed commit_every ack_wait max_ack_pending name credentials nkey metadata";
    const OF_KAFKA: &str = " brokers properties topic topics group exactly_once tls cert mechanism";
    let expected = format!("{expected}{}", if cfg!(feature = "kafka") { OF_KAFKA } else { "" });
    for key in expected.split_whitespace() {
        assert!(keys.iter().any(|known| *known == key), "{key} is missing");
    }
    for key in keys {
        assert!(expected.split_whitespace().any(|known| known == key), "{key} is new: add it here");
    }
}

#[test]
fn every_key_of_a_step_is_described() {
    let schema = schema();
    let step = schema["$defs"]["Step"]["properties"].as_object().unwrap();
    for (key, about) in step {
        assert!(about["description"].as_str().is_some_and(|text| text.len() > 20), "{key} has no description");
    }
    assert_eq!(schema["$defs"]["Step"]["additionalProperties"], false);
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn null_is_allowed_nowhere() {
    // As a key there is one: `null: [NA]`.
    let text = serde_json::to_string(&schema()).unwrap();
    assert_eq!(text.matches("\"null\"").count(), text.matches("\"null\":").count(), "{text}");
}

/// The program accepts exactly the keys of the schema: a step with each of them alone is decoded without "unknown".
#[test]
fn the_program_knows_every_key_of_the_schema() {
    let schema = schema();
    for key in schema["$defs"]["Step"]["properties"].as_object().unwrap().keys() {
        let pipeline = SEVEN_LINES.replace("sqlite: {", &format!("{key}: {{"));
        let ran = Workspace::with(&pipeline).run(&["check", "p.yaml"]);
        assert!(!ran.stderr.contains(&format!("unknown key `{key}`")), "{ran:?}");
    }
}

//! Look-ups over HTTP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::workspace::{Workspace, json_lines};

/// A server that knows the users 1 and 2, and is busy when it is asked first. What it was asked, and the address.
fn server() -> (Arc<Mutex<Vec<String>>>, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), &told)));
    (asked, address)
}

fn answer(mut stream: TcpStream, told: &Mutex<Vec<String>>) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(target) = head.first().and_then(|line| line.split(' ').nth(1)).map(str::to_owned) else { return };
    let is_allowed = head.iter().any(|line| line == "authorization: Bearer hunter2");
    let is_first = {
        let mut told = told.lock().unwrap();
        told.push(target.clone());
        told.len() == 1
    };
    let (status, body) = match target.as_str() {
        _ if !is_allowed => ("401 Unauthorized", ""),
        _ if is_first => ("429 Too Many Requests\r\nretry-after: 0", ""),
        "/users/1" => ("200 OK", r#"{"data":{"name":"Ada"}}"#),
        "/users/2" => ("200 OK", r#"{"data":{"name":"Bob"}}"#),
        "/users/4" => ("400 Bad Request", ""),
        "/users/5" => ("503 Service Unavailable", ""),
        _ => ("404 Not Found", ""),
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
}

const PIPELINE: &str = "\
source: { file: { path: in.jsonl } }
enrich:
  user:
    http: { url: 'http://${env:ADDRESS}/users/{id}', headers: { authorization: 'Bearer ${env:TOKEN}' }, answer: .data }
    key: { id: .id }
    on_error: dead_letter
sink: stdout
dead_letter: { file: { path: dead.jsonl } }
";

#[test]
fn a_service_enriches_records() {
    let (asked, address) = server();
    let workspace = Workspace::with(PIPELINE);
    workspace.write("in.jsonl", (1..=4).map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>());
    let variables = [("ADDRESS", address.as_str()), ("TOKEN", "hunter2")];
    let ran = workspace.run_with(&["run", "p.yaml"], &variables);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        json!({"id": 1, "user": {"name": "Ada"}}),
        json!({"id": 2, "user": {"name": "Bob"}}),
        json!({"id": 3, "user": null}),
    ];
    assert_eq!(ran.records(), expected);
    let dead = workspace.read("dead.jsonl");
    assert!(dead.contains("the service answers 400 (Bad Request)"), "{dead}");
    // Each of them once, and the one that came first again.
    assert_eq!(asked.lock().unwrap().len(), 5);
    let shown = workspace.run_with(&["explain", "p.yaml"], &variables).stdout;
    assert!(shown.contains("method get, id = .id") && shown.contains("up to 1 records in each"), "{shown}");
    assert!(!format!("{shown}{ran:?}{dead}").contains("hunter2"), "{shown}");
}

#[test]
fn a_dead_letter_tells_of_each_attempt() {
    let (_, address) = server();
    let workspace = Workspace::with(
        &PIPELINE.replace("    on_error", "    retries: { max: 2, backoff: 1ms..2ms }\n    breaker: off\n    on_error"),
    );
    workspace.write("in.jsonl", "{\"id\":1}\n{\"id\":5}\n{\"id\":2}\n");
    let ran = workspace.run_with(&["run", "p.yaml"], &[("ADDRESS", &address), ("TOKEN", "hunter2")]);
    assert_eq!((ran.code, ran.records().len()), (0, 2), "{ran:?}");
    let letter = json_lines(&workspace.read("dead.jsonl")).remove(0);
    let each = letter["each_attempt"].as_array().unwrap();
    let numbers: Vec<u64> = each.iter().map(|attempt| attempt["attempt"].as_u64().unwrap()).collect();
    assert!(numbers.len() >= 3 && numbers.iter().zip(1..).all(|(number, place)| *number == place), "{letter}");
    assert_eq!(Some(numbers.len() as u64), letter["attempts"].as_u64(), "{letter}");
    let began = |attempt: &serde_json::Value| attempt["began_at"].as_str().unwrap().to_owned();
    assert!(each.windows(2).all(|two| began(&two[0]) <= began(&two[1])), "{letter}");
    assert!(letter["read_at"].as_str() <= each[0]["began_at"].as_str(), "{letter}");
    assert_eq!(each.last().unwrap()["error"], letter["error"], "{letter}");
    assert!(each.iter().all(|attempt| attempt["took_ms"].is_u64() && attempt["failure"].is_string()), "{letter}");
}

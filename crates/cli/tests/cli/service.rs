//! Policies against a real service, which counts what it is asked: a few workers, each of which takes its time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::workspace::{Ran, Workspace, json_lines};

/// What it was asked, and what it does at the moment.
#[derive(Default)]
struct Asked {
    /// Of each id, how often.
    ids: BTreeMap<u64, u64>,
    /// Requests that were there when another came, that one included.
    there: Vec<usize>,
    now: usize,
    working: usize,
}

/// Knows the users with even ids; 400 for those above a million.
struct Service {
    workers: usize,
    takes: Duration,
    asked: Mutex<Asked>,
    free: Condvar,
}

impl Service {
    fn start(workers: usize, takes_ms: u64) -> (Arc<Self>, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let takes = Duration::from_millis(takes_ms);
        let service = Arc::new(Self { workers, takes, asked: Mutex::default(), free: Condvar::new() });
        let serving = Arc::clone(&service);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(&stream.unwrap()));
            }
        });
        (service, address)
    }

    /// Answers what comes over one connection.
    fn serve(&self, mut stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        loop {
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let id = head.first().and_then(|line| line.split([' ', '/']).nth(3)?.parse().ok());
            let Some(id) = id else { return };
            let (status, body) = self.answer(id);
            let length = body.len();
            if write!(stream, "HTTP/1.1 {status} As told\r\ncontent-length: {length}\r\n\r\n{body}").is_err() {
                return;
            }
        }
    }

    fn answer(&self, id: u64) -> (u16, String) {
        {
            let mut asked = self.asked.lock().unwrap();
            asked.now += 1;
            let there = asked.now;
            asked.there.push(there);
            *asked.ids.entry(id).or_default() += 1;
            let mut asked = self.free.wait_while(asked, |asked| asked.working == self.workers).unwrap();
            asked.working += 1;
        }
        std::thread::sleep(self.takes);
        let mut asked = self.asked.lock().unwrap();
        (asked.now, asked.working) = (asked.now - 1, asked.working - 1);
        self.free.notify_one();
        match id {
            1_000_001.. => (400, String::new()),
            _ if id.is_multiple_of(2) => (200, format!("{{\"name\":\"u{id}\"}}")),
            _ => (404, String::new()),
        }
    }

    fn calls(&self) -> u64 {
        self.asked.lock().unwrap().ids.values().sum()
    }
}

/// Looks these ids up, with these keys in the step.
fn run(address: &str, ids: impl Iterator<Item = u64>, keys: &str) -> (Workspace, Ran) {
    let keys: String = keys.lines().map(|key| format!("    {key}\n")).collect();
    let workspace = Workspace::with(&format!(
        "source: {{ file: {{ path: in.jsonl }} }}\nenrich:\n  user:\n    http: {{ url: 'http://{address}/users/{{id}}', \
         connections: 200 }}\n    key: {{ id: .id }}\n    timeout: 30s\n    deadline: 60s\n{keys}\
         sink: {{ file: {{ path: out.jsonl }} }}\ndead_letter: {{ file: {{ path: dead.jsonl }} }}\n"
    ));
    workspace.write("in.jsonl", ids.map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>());
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    (workspace, ran)
}

/// Eight at a time is all it can do: it begins with 16, may have 64, and comes down to about 8.
#[test]
fn the_limit_is_found_that_the_service_works_best_with() {
    let (service, address) = Service::start(8, 5);
    let (_, ran) = run(&address, (0..4_000).map(|n| 2 * n), "concurrency: { min: 2, max: 64 }\ncapacity: 1000");
    assert_eq!(ran.row("user")[..4], ["user", "4,000", "0", "0"], "{ran:?}");
    let there = service.asked.lock().unwrap().there.clone();
    assert_eq!(there.len(), 4_000);
    assert!(there.iter().all(|calls| *calls <= 64), "{:?}", there.iter().max());
    let mut late = there[2_000..].to_vec();
    late.sort_unstable();
    let median = late[late.len() / 2];
    assert!((4..=14).contains(&median), "{median} at a time: {late:?}");
}

#[test]
fn a_fixed_limit_is_never_exceeded() {
    let (service, address) = Service::start(100, 5);
    run(&address, (0..500).map(|n| 2 * n), "concurrency: 7");
    let most = service.asked.lock().unwrap().there.iter().copied().max();
    assert_eq!(most, Some(7));
}

/// Five keys, each of them a hundred times.
#[test]
fn what_is_asked_for_or_known_is_not_asked_again() {
    let ids = || (0..500).map(|n| 2 * (n % 5));
    for (keys, least, most) in [
        ("single_flight: false", 500, 500),
        ("concurrency: 16", 5, 250),
        ("cache: { ttl: 10m }", 5, 5),
        ("cache: { ttl: 10m }\nsingle_flight: false\nconcurrency: 1", 5, 5),
    ] {
        let (service, address) = Service::start(100, 10);
        let (workspace, ran) = run(&address, ids(), keys);
        let records = json_lines(&workspace.read("out.jsonl"));
        assert!(records.iter().all(|record| record["user"]["name"] == format!("u{}", record["id"])), "{keys}");
        assert!((least..=most).contains(&service.calls()), "{keys}: {} calls, {ran:?}", service.calls());
    }
}

#[test]
fn what_is_missing_or_wrong_becomes_what_the_pipeline_says() {
    let (_, address) = Service::start(100, 1);
    for (keys, ids, dead, third) in [
        ("on_missing: drop\non_error: drop", vec![2], 0, None),
        ("on_missing: keep\non_error: keep", vec![2, 3, 1_000_002], 0, Some(Value::Null)),
        ("on_missing: dead_letter\non_error: dead_letter", vec![2], 2, None),
        (
            "on_missing: drop\non_error: { default: { name: none } }",
            vec![2, 1_000_002],
            0,
            Some(json!({"name": "none"})),
        ),
    ] {
        let (workspace, _) = run(&address, [2, 3, 1_000_002].into_iter(), keys);
        let records = json_lines(&workspace.read("out.jsonl"));
        let out: Vec<u64> = records.iter().map(|record| record["id"].as_u64().unwrap()).collect();
        assert_eq!(out, ids, "{keys}");
        assert_eq!(json_lines(&workspace.read("dead.jsonl")).len(), dead, "{keys}");
        let user = records.iter().find(|record| record["id"] == 1_000_002).map(|record| record["user"].clone());
        assert_eq!(user, third, "{keys}");
    }
}

/// The first of a bucket of ten start at once, the others 10 ms apart: whatever the machine does, it is no faster.
#[test]
fn a_rate_is_kept_before_a_service() {
    let (service, address) = Service::start(100, 1);
    let began = std::time::Instant::now();
    run(&address, (0..60).map(|n| 2 * n), "rate_limit: { rate: 100/s, burst: 10 }");
    assert_eq!(service.calls(), 60);
    assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
}

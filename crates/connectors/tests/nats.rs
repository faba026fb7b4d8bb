//! Reading from and publishing to a real NATS.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, but not the functions they call")]

mod nats_server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use inflight_connectors::nats::{NatsConsumer, NatsSink, NatsSinkConfig, NatsSource, NatsSourceConfig, Start, Until};
use inflight_connectors::{Acknowledge, ErrorKind, Event, Message, Messages, Origin, Position, Record, Sink, Source};
use nats_server::{Own, Stream, shared, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_millis(200);

fn numbers(range: std::ops::Range<u64>) -> impl Iterator<Item = Value> {
    range.map(|n| json!({ "n": n }))
}

fn of(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record["n"].as_u64().unwrap()).collect()
}

fn config(stream: &Stream) -> NatsSourceConfig {
    NatsSourceConfig::new(stream.url.as_str(), stream.name.as_str())
}

fn read_to_end(source: &mut NatsSource) -> Vec<u64> {
    let mut read = Vec::new();
    while source.read_batch(100, &mut read).unwrap() > 0 {}
    of(&read)
}

#[test]
fn headers_go_from_a_source_to_a_sink() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "headers");
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [("Trace", "a-1"), ("Tenant", "x"), ("Nats-Msg-Id", "7")] {
        headers.insert(name, value);
    }
    stream.wait(async {
        let published = stream.context().publish_with_headers("headers.in", headers, "{\"n\":1}".into()).await;
        published.unwrap().await.unwrap();
    });
    let source = NatsSourceConfig { metadata: Some("m".to_owned()), until: Some(Until::End), ..config(&stream) };
    let mut read = Vec::new();
    NatsSource::open(&source).unwrap().read_batch(1, &mut read).unwrap();
    let about = read[0]["m"].clone();
    assert_eq!(about["headers"], json!({ "Tenant": "x", "Trace": "a-1" }), "the server's own are not ours to hand on");
    assert_eq!(json!([about["stream"], about["subject"], about["sequence"]]), json!(["headers", "headers.in", 1]));
    assert!(about["timestamp"].as_i64() > Some(1_700_000_000_000), "{about}");
    let sink =
        NatsSinkConfig { headers: Some(".m.headers".parse().unwrap()), ..NatsSinkConfig::new(url, "headers.out") };
    let mut sink = Box::new(NatsSink::open(&sink).unwrap());
    sink.write_from(Origin { partition: "p", number: 1 }, &read[0]).unwrap();
    sink.write(json!({ "n": 2 }).as_object().unwrap()).unwrap();
    let error = sink.write(json!({ "m": { "headers": 7 } }).as_object().unwrap()).unwrap_err();
    assert!(error.to_string().contains("must be an object of texts") && error.place().record == Some(3), "{error}");
    wait_until("they have arrived", || stream.count() == 3);
    let out =
        stream.wait(async { stream.context().get_stream("headers").await.unwrap().get_raw_message(2).await.unwrap() });
    let header = |name: &str| out.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!((header("Trace").as_deref(), header("Tenant").as_deref()), (Some("a-1"), Some("x")));
    assert!(header("Nats-Msg-Id").is_some_and(|id| id.ends_with("/p/1")));
}

#[test]
fn a_stream_is_read_to_its_end_and_on_from_any_place() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "positions");
    stream.publish("a", numbers(0..2_000));
    let config = NatsSourceConfig { until: Some(Until::End), ..config(&stream) };
    let mut source = NatsSource::open(&config).unwrap();
    let start = source.position();
    let mut read = Vec::new();
    source.read_batch(300, &mut read).unwrap();
    let (middle, count) = (source.position(), read.len() as u64);
    assert!(count > 0 && count <= 300);
    // What is published meanwhile is behind the end.
    stream.publish("a", numbers(2_000..2_010));
    assert_eq!([of(&read), read_to_end(&mut source)].concat(), (0..2_000).collect::<Vec<_>>());
    assert_eq!((source.position().record, source.progress().records), (2_000, 2_000));
    for (position, expected) in
        [(&start, 0), (&middle, count), (&start.skipping(7), 7), (&middle.skipping(7), count + 7)]
    {
        let kept: Position = serde_json::from_str(&serde_json::to_string(position).unwrap()).unwrap();
        let mut source = NatsSource::open_at(&config, &kept).unwrap();
        assert_eq!(read_to_end(&mut source), (expected..2_010).collect::<Vec<_>>());
        assert_eq!(source.position().records(), 2_010);
    }
}

#[test]
fn only_what_is_asked_for_is_read() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "filtered");
    stream.publish("new.eu", numbers(0..5));
    stream.publish("old.eu", numbers(5..9));
    let until_end = NatsSourceConfig { until: Some(Until::End), ..config(&stream) };
    let filtered = NatsSourceConfig { subject: Some("filtered.new.*".to_owned()), ..until_end.clone() };
    assert_eq!(read_to_end(&mut NatsSource::open(&filtered).unwrap()), [0, 1, 2, 3, 4]);
    let none = NatsSourceConfig { subject: Some("filtered.none".to_owned()), ..until_end.clone() };
    assert_eq!(read_to_end(&mut NatsSource::open(&none).unwrap()), [0; 0]);
    let latest = NatsSourceConfig { start: Start::Latest, ..until_end };
    assert_eq!(read_to_end(&mut NatsSource::open(&latest).unwrap()), [0; 0]);
    let endless = NatsSourceConfig { start: Start::Latest, until: None, ..latest };
    let mut source = NatsSource::open(&endless).unwrap();
    stream.publish("new.eu", numbers(9..10));
    let mut read = Vec::new();
    source.read_batch(10, &mut read).unwrap();
    assert_eq!(of(&read), [9]);
}

#[test]
fn a_message_that_is_no_record_is_named() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "malformed");
    stream.publish("a", [json!({ "n": 0 }), json!([1]), json!({ "n": 2 })]);
    let mut source = NatsSource::open(&config(&stream)).unwrap();
    let mut read = Vec::new();
    let error = std::iter::repeat_with(|| source.read_batch(10, &mut read)).find_map(Result::err).unwrap();
    assert_eq!((of(&read), error.kind()), (vec![0], ErrorKind::Malformed));
    let told = error.to_string();
    assert!(told.contains("stream malformed, message 2 (malformed.a): it is no JSON object"), "{told}");
    assert!(!told.contains("inflight:"), "{told}");
}

#[test]
fn what_does_not_fit_the_server_is_said_before_anything_is_read() {
    let Some(url) = shared() else { return };
    let none = NatsSource::open(&NatsSourceConfig::new(url.as_str(), "nowhere")).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Config, "{none}");
    assert!(none.to_string().contains("stream nowhere") && none.to_string().contains("not found"), "{none}");
    let none = NatsSink::open(&NatsSinkConfig::new(url.as_str(), "no.stream.listens")).unwrap_err();
    assert!(none.to_string().contains("no stream listens to the subject no.stream.listens"), "{none}");
    let wrong = url.replace("of-the-test-server", "hunter2");
    let refused = NatsSink::open(&NatsSinkConfig::new(wrong, "any.subject")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Permission, "{refused}");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
    // A stream that was made anew is another one.
    let stream = Stream::new(&url, "anew");
    stream.publish("a", numbers(0..9));
    let mut source = NatsSource::open(&NatsSourceConfig { until: Some(Until::End), ..config(&stream) }).unwrap();
    read_to_end(&mut source);
    let stream = Stream::new(&url, "anew");
    let changed = NatsSource::open_at(&config(&stream), &source.position()).unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::Changed, "{changed}");
}

#[test]
fn records_that_come_again_are_dropped_by_their_origin() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "published");
    let config = NatsSinkConfig::new(url.as_str(), "published.out");
    let write = |from: u64, to: u64, name: &str| {
        let mut sink =
            Box::new(NatsSink::open(&NatsSinkConfig { name: Some(name.to_owned()), ..config.clone() }).unwrap());
        for n in from..to {
            let origin = Origin { partition: "in.jsonl", number: n };
            sink.write_from(origin, json!({ "n": n }).as_object().unwrap()).unwrap();
        }
        sink.finish().unwrap();
    };
    write(0, 3_000, "orders");
    write(1_000, 4_000, "orders");
    let content: Vec<u64> = stream.content().iter().map(|record| record["n"].as_u64().unwrap()).collect();
    assert_eq!(content, (0..4_000).collect::<Vec<_>>());
    // Of another output, or without an origin, they are others.
    write(0, 10, "other");
    let mut sink = Box::new(NatsSink::open(&config).unwrap());
    for _ in 0..10 {
        sink.write(json!({ "n": 0 }).as_object().unwrap()).unwrap();
    }
    sink.flush().unwrap();
    assert_eq!(stream.count(), 4_020);
}

#[test]
fn a_server_that_is_killed_and_started_again_loses_and_doubles_nothing() {
    let Some(mut server) = Own::start() else { return };
    let (from, to) = (Stream::new(&server.url(), "from"), Stream::new(&server.url(), "to"));
    from.publish("a", numbers(0..30_000));
    let done = AtomicBool::new(false);
    let url = server.url();
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let config = NatsSourceConfig { until: Some(Until::End), ..NatsSourceConfig::new(url.as_str(), "from") };
            let mut source = NatsSource::open(&config).unwrap();
            let mut sink = Box::new(NatsSink::open(&NatsSinkConfig::new(url.as_str(), "to.out")).unwrap());
            let mut batch = Vec::new();
            let mut number = 0;
            while source.read_batch(100, &mut batch).unwrap() > 0 {
                for record in batch.drain(..) {
                    number += 1;
                    sink.write_from(Origin { partition: "from", number }, &record).unwrap();
                }
            }
            sink.finish().unwrap();
            done.store(true, Ordering::Relaxed);
            number
        });
        for kill in 1..4 {
            wait_until("messages arrive", || to.count() > kill * 5_000 || done.load(Ordering::Relaxed));
            assert!(!done.load(Ordering::Relaxed), "it was faster than the kills");
            server.kill();
            server.start_again();
            wait_until("the server knows its streams", || {
                to.wait(async {
                    to.context().get_stream("to").await.is_ok() && to.context().get_stream("from").await.is_ok()
                })
            });
        }
        assert_eq!(worker.join().unwrap(), 30_000);
    });
    let mut content: Vec<u64> = to.content().iter().map(|record| record["n"].as_u64().unwrap()).collect();
    // What a killed server had not confirmed comes behind what was sent meanwhile.
    content.sort_unstable();
    assert!(content == (0..30_000).collect::<Vec<_>>(), "{} messages", content.len());
}

#[test]
fn messages_of_a_partition_come_with_their_places() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "partitioned");
    stream.publish("a", [json!({ "n": 0 }), json!(7), json!({ "n": 2 })]);
    let config = NatsSourceConfig { until: Some(Until::End), ..config(&stream) };
    let mut source = NatsSource::open(&config).unwrap().of_partition(3);
    let mut events = Vec::new();
    while Messages::poll(&mut source, 10, SOON, &mut events).unwrap() {}
    let told: Vec<Value> = events
        .into_iter()
        .map(|event| match event {
            Event::Message(Message { partition, after, content: Ok(record), .. }) => {
                json!([partition, after, record["n"]])
            }
            Event::Message(Message { partition, after, content: Err(malformed), .. }) => {
                json!([partition, after, malformed.original["text"], malformed.original["subject"]])
            }
            Event::Ended { partition } => json!([partition]),
        })
        .collect();
    assert_eq!(told, [json!([3, 1, 0]), json!([3, 2, "7", "partitioned.a"]), json!([3, 3, 2]), json!([3])]);
}

fn durable(stream: &Stream, ack_wait: Duration) -> NatsSourceConfig {
    NatsSourceConfig { consumer: Some("readers".to_owned()), ack_wait, ..config(stream) }
}

/// What comes within a while, by its count and its number.
fn poll(consumer: &mut NatsConsumer, max: usize) -> Vec<(u64, u64)> {
    let mut events = Vec::new();
    consumer.poll(max, SOON, &mut events).unwrap();
    let told = |event: Event| match event {
        Event::Message(Message { after, content, .. }) => Some((after, content.unwrap()["n"].as_u64().unwrap())),
        Event::Ended { .. } => None,
    };
    events.into_iter().filter_map(told).collect()
}

fn poll_some(consumer: &mut NatsConsumer, count: usize) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    wait_until("messages come", || {
        all.extend(poll(consumer, count - all.len()));
        all.len() >= count
    });
    all
}

fn up_to(after: u64) -> [(u32, Position); 1] {
    [(0, Position { record: after, skip: 0, at: json!(after) })]
}

#[test]
fn what_was_not_acknowledged_goes_to_another_reader_and_what_was_does_not() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "shared");
    stream.publish("a", numbers(0..100));
    let config = durable(&stream, Duration::from_secs(1));
    let (mut one, acks) = NatsConsumer::open(&config).unwrap();
    let first = poll_some(&mut one, 60);
    assert_eq!(first.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    acks.acknowledge(&up_to(25)).unwrap();
    acks.acknowledge(&up_to(25)).unwrap();
    // It dies without a word, with messages that it had not even looked at.
    drop((one, acks));
    let (mut two, acks) = NatsConsumer::open(&config).unwrap();
    let mut rest: Vec<(u64, u64)> = poll_some(&mut two, 75);
    let last = rest.last().unwrap().0;
    rest.sort_unstable_by_key(|(_, n)| *n);
    assert_eq!(rest.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (25..100).collect::<Vec<_>>());
    assert_eq!(last, 75);
    // As long as it lives and keeps in touch, it keeps what it has.
    for _ in 0..10 {
        two.poll(0, SOON, &mut Vec::new()).unwrap();
    }
    assert_eq!(poll(&mut two, 100), []);
    acks.acknowledge(&up_to(70)).unwrap();
    // What is given back comes at once.
    acks.abandon();
    let (mut three, acks) = NatsConsumer::open(&config).unwrap();
    assert_eq!(poll_some(&mut three, 5).len(), 5);
    acks.acknowledge(&up_to(5)).unwrap();
    assert_eq!(poll(&mut three, 100), []);
}

#[test]
fn a_shared_stream_ends_when_all_of_it_is_acknowledged() {
    let Some(url) = shared() else { return };
    let stream = Stream::new(&url, "ending");
    stream.publish("a", numbers(0..10));
    let config = NatsSourceConfig { until: Some(Until::End), ..durable(&stream, Duration::from_secs(30)) };
    let (mut one, acks) = NatsConsumer::open(&config).unwrap();
    assert_eq!(poll_some(&mut one, 10).len(), 10);
    assert_eq!(poll(&mut one, 10), []);
    acks.acknowledge(&up_to(10)).unwrap();
    wait_until("it ends", || !one.poll(10, SOON, &mut Vec::new()).unwrap());
    let (mut two, _acks) = NatsConsumer::open(&config).unwrap();
    wait_until("it ends", || !two.poll(10, SOON, &mut Vec::new()).unwrap());
}

#[test]
fn a_consumer_that_is_deleted_or_whose_server_is_killed_goes_on() {
    let Some(mut server) = Own::start() else { return };
    let stream = Stream::new(&server.url(), "stalled");
    stream.publish("a", numbers(0..10));
    let (mut one, acks) = NatsConsumer::open(&durable(&stream, Duration::from_secs(1))).unwrap();
    let last = poll_some(&mut one, 10).last().unwrap().0;
    acks.acknowledge(&up_to(last)).unwrap();
    server.kill();
    assert_eq!(poll(&mut one, 10), []);
    server.start_again();
    wait_until("the server knows its streams", || {
        stream.wait(async { stream.context().get_stream("stalled").await.is_ok() })
    });
    stream.publish("a", numbers(10..20));
    // A server that is killed may have forgotten what was acknowledged last.
    let mut more = Vec::new();
    wait_until("the new ones come", || {
        more.extend(poll(&mut one, 100));
        (10..20).all(|n| more.iter().any(|(_, read)| *read == n))
    });
    acks.acknowledge(&up_to(more.last().unwrap().0)).unwrap();
    // Made anew, it begins as it did the first time: nothing is lost, some of it comes again.
    stream.wait(async { stream.context().delete_consumer_from_stream("readers", "stalled").await.unwrap() });
    let again = poll_some(&mut one, 20);
    assert_eq!(again.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

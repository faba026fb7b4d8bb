//! Runs that are cut short and go on: whatever the moment, the records are those of an undisturbed run.

#![allow(clippy::unwrap_used)] // clippy knows test functions, but not the functions they call

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use inflight_connectors::file::{ColumnType, FileSink, FileSinkConfig, FileSource, FileSourceConfig};
use inflight_connectors::{Error, ErrorKind, Guarantee, Position, Record, Sink, Source};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Numbers without pattern, from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(name: &str, text: &[u8]) -> (TempDir, FileSourceConfig) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, if name.ends_with(".gz") { gzip(text) } else { text.to_vec() }).unwrap();
    (folder, FileSourceConfig::new(path))
}

/// Up to the end or the first error.
fn rest(source: &mut FileSource) -> (Vec<Value>, Option<String>) {
    let mut records = Vec::new();
    let error = loop {
        match source.read_batch(3, &mut records) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.to_string()),
        }
    };
    (records.into_iter().map(Value::Object).collect(), error)
}

fn open_at(config: &FileSourceConfig, position: &Position) -> FileSource {
    let text = serde_json::to_string(position).unwrap();
    FileSource::open_at(config, &serde_json::from_str(&text).unwrap()).unwrap()
}

fn read_some(config: &FileSourceConfig, records: usize) -> FileSource {
    let mut source = FileSource::open(config).unwrap();
    let mut batch = Vec::new();
    while batch.len() < records {
        source.read_batch(records - batch.len(), &mut batch).unwrap();
    }
    source
}

const JSON_LINES: [&str; 5] = [
    "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n",
    "\u{feff}{\"id\":1}\r\n\r\n{\"id\":\"é\"}\n\n\n{\"id\":3}",
    "\n\n{\"id\":1}\n  \n{\"id\":2}\nbroken\n{\"id\":3}\n",
    "{\"id\":1}\n{\"id\":2",
    "",
];

const CSV: [&str; 6] = [
    "id,name\n1,a\n2,b\n3,c\n",
    "\u{feff}id,name\r\n1,\"two\r\nlines\"\r\n\r\n\"2\",\"\"\"\"\r\n3,c",
    "\n\nid,name\n\n1,a\n\n2,\"\n\n\"\n3\n4,d\n",
    "id,name\r1,a\r2,b\r3,c\r4\r",
    "id,name\r1,a\n\r2,b\r\n3,c\n4,\"d",
    "id,name",
];

#[test]
fn a_source_goes_on_after_each_of_its_records() {
    let texts = JSON_LINES.map(|text| ("a.jsonl", text)).into_iter().chain(CSV.map(|text| ("a.csv", text)));
    for (name, text) in texts {
        for name in [name.to_owned(), format!("{name}.gz")] {
            let (_folder, config) = file(&name, text.as_bytes());
            let (whole, error) = rest(&mut FileSource::open(&config).unwrap());
            for done in 0..=whole.len() {
                let mut source = read_some(&config, done);
                let position = source.position();
                assert_eq!(position.record, done as u64);
                let expected = (whole[done..].to_vec(), error.clone());
                assert_eq!(rest(&mut open_at(&config, &position)), expected, "{name} {text:?} after {done}");

                // By arithmetic from the start, and the position found that way.
                let start = FileSource::open(&config).unwrap().position();
                let mut skipped = open_at(&config, &start.skipping(done as u64));
                assert_eq!(skipped.position(), position, "{name} {text:?} after {done}");
                assert_eq!(skipped.progress().records, done as u64);
                assert_eq!(rest(&mut skipped), expected, "{name} {text:?} after {done}");
                rest(&mut source);
                assert_eq!(rest(&mut open_at(&config, &source.position())), (vec![], error.clone()), "{text:?}");
            }
        }
    }
}

#[test]
fn a_source_that_is_cut_short_again_and_again_reads_each_record_once() {
    let text: String = (0..5000).map(|id| format!("{id},\"{}\"\r\n", "x\n".repeat(id % 7))).collect();
    let text = format!("id,text\r\n{text}");
    for name in ["a.csv", "a.csv.gz"] {
        let (_folder, mut config) = file(name, text.as_bytes());
        config.columns.insert("id".to_owned(), ColumnType::Int);
        for seed in 0..5 {
            let mut dice = Dice(seed);
            let mut position = FileSource::open(&config).unwrap().position();
            let mut ids = Vec::new();
            while ids.len() < 5000 {
                let mut source = open_at(&config, &position);
                for _ in 0..dice.below(4) {
                    let before = source.position();
                    let mut batch = Vec::new();
                    let count = source.read_batch(1 + dice.below(300) as usize, &mut batch).unwrap();
                    let taken = dice.below(count as u64 + 1);
                    ids.extend(batch[..taken as usize].iter().map(|record| record["id"].as_u64().unwrap()));
                    position = before.skipping(taken);
                    if taken < count as u64 {
                        break;
                    }
                }
            }
            assert_eq!(ids, (0..5000).collect::<Vec<_>>(), "{name}, seed {seed}");
        }
    }
}

#[test]
fn errors_after_a_restart_name_the_same_line_and_record() {
    let (_folder, config) = file("a.csv", b"id,name\n1,\"two\nlines\"\n\n2,b\n3\n");
    let whole = rest(&mut FileSource::open(&config).unwrap()).1.unwrap();
    assert!(whole.contains("line 6, record 3: 1 fields"), "{whole}");
    assert_eq!(rest(&mut open_at(&config, &read_some(&config, 1).position())).1.unwrap(), whole);
}

#[test]
fn a_plain_file_is_entered_where_it_stood() {
    let text: String = (0..100_000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let (_folder, config) = file("a.jsonl", text.as_bytes());
    let position = read_some(&config, 90_000).position();
    let mut source = open_at(&config, &position);
    let mut batch = Vec::new();
    source.read_batch(1, &mut batch).unwrap();
    assert_eq!(batch[0]["id"], 90_000);
    // Nothing before was read again.
    let offset = position.at["offset"].as_u64().unwrap();
    assert!(source.progress().bytes_read >= offset);
    assert!(source.progress().bytes_read < offset + 100_000);
    rest(&mut source);
    assert_eq!(source.progress().bytes_read, text.len() as u64);
}

fn refusal(config: &FileSourceConfig, position: &Position) -> Error {
    FileSource::open_at(config, position).unwrap_err()
}

#[test]
fn a_file_that_has_changed_is_refused_and_one_that_has_grown_is_not() {
    let text = b"{\"id\":1}\n{\"id\":2}\n{\"id\":3}";
    for name in ["a.jsonl", "a.jsonl.gz"] {
        let (_folder, config) = file(name, text);
        let position = read_some(&config, 2).position();
        let end = read_some(&config, 3).position();
        let write = |text: &[u8]| {
            fs::write(&config.path, if name.ends_with(".gz") { gzip(text) } else { text.to_vec() }).unwrap();
        };
        for changed in [&b"{\"id\":1}\n"[..], b"{\"id\":1}\n{\"id\":5}\n{\"id\":3}\n", b""] {
            write(changed);
            let error = refusal(&config, &position);
            assert_eq!(error.kind(), ErrorKind::Changed);
            assert!(error.to_string().contains("the source has changed since the checkpoint"), "{error}");
            assert!(error.to_string().starts_with(&config.path.display().to_string()), "{error}");
        }
        fs::remove_file(&config.path).unwrap();
        assert_eq!(refusal(&config, &position).kind(), ErrorKind::NotFound);
        write(text);
        assert!(refusal(&config, &end.skipping(1)).to_string().contains("fewer records"));
    }
    let (_folder, config) = file("a.jsonl", text);
    let (position, end) = (read_some(&config, 2).position(), read_some(&config, 3).position());
    fs::write(&config.path, [&text[..], b"\n{\"id\":4}\n"].concat()).unwrap();
    assert_eq!(rest(&mut open_at(&config, &position)).0, [json!({"id": 3}), json!({"id": 4})]);
    assert!(refusal(&config, &end).to_string().contains("has been continued"));
}

#[test]
fn a_file_that_is_shorter_is_refused_though_it_begins_as_before() {
    let text: String = (0..10_000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let (_folder, config) = file("a.jsonl", text.as_bytes());
    let position = read_some(&config, 9000).position();
    fs::write(&config.path, &text[..5000]).unwrap();
    assert!(refusal(&config, &position).to_string().contains("has become shorter"));
}

#[test]
fn other_columns_are_refused_however_long_the_header_is() {
    let header = |last: &str| format!("{}{last}\n", (0..2000).map(|n| format!("column_{n},")).collect::<String>());
    let row = format!("{}\n", ",".repeat(2000));
    let (_folder, config) = file("a.csv", [header("a"), row.clone(), row.clone()].concat().as_bytes());
    let position = read_some(&config, 1).position();
    fs::write(&config.path, [header("b"), row.clone(), row].concat()).unwrap();
    assert!(refusal(&config, &position).to_string().contains("its columns are others"));
}

#[test]
fn what_cannot_be_read_again_is_refused() {
    let position =
        Position { record: 1, at: json!({ "offset": 9, "line": 1, "beginning": null }), ..Position::default() };
    let error = refusal(&FileSourceConfig::new("-"), &position);
    assert!(error.to_string().starts_with("stdin: this cannot be read again from the middle"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
}

fn record(id: u64) -> Record {
    let text = format!("number {id}, \"{}\"", "x".repeat(id as usize % 40));
    json!({ "id": id, "text": text }).as_object().unwrap().clone()
}

const NAMES: [&str; 4] = ["out.jsonl", "out.jsonl.gz", "out.csv", "out.csv.gz"];

/// Where a sink writes for now.
fn partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
}

/// The bytes of a run that nothing disturbs, with its epochs ending after so many records.
fn undisturbed(name: &str, epochs: &[u64]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut sink = Box::new(FileSink::create(&FileSinkConfig::new(&path)).unwrap());
    let mut written = 0;
    for (epoch, end) in epochs.iter().enumerate() {
        (written..*end).for_each(|id| sink.write(&record(id)).unwrap());
        sink.prepare(epoch as u64 + 1).unwrap();
        sink.commit(epoch as u64 + 1).unwrap();
        written = *end;
    }
    sink.finish().unwrap();
    fs::read(path).unwrap()
}

/// What is behind the state may be anything after a crash: cut off anywhere, or never have reached the disk as it was.
fn crash(dice: &mut Dice, path: &Path, safe: u64) {
    let Ok(mut bytes) = fs::read(partial(path)) else { return };
    let safe = safe as usize;
    bytes.truncate(safe + dice.below((bytes.len() - safe) as u64 + 1) as usize);
    if dice.below(2) == 0 {
        bytes[safe..].fill(0);
    }
    fs::write(partial(path), bytes).unwrap();
}

fn safe_bytes(state: &str) -> u64 {
    serde_json::from_str::<Value>(state).unwrap()["bytes"].as_u64().unwrap()
}

#[test]
fn an_output_that_is_cut_short_anywhere_ends_with_the_bytes_of_an_undisturbed_run() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let name = NAMES[seed as usize % NAMES.len()];
        let mut epochs: Vec<u64> = (0..1 + dice.below(5)).map(|_| dice.below(3000)).collect();
        epochs.sort_unstable();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let config = FileSinkConfig::new(&path);
        let all = *epochs.last().unwrap();

        // What the newest checkpoint holds: the epochs that are complete, and the state of the sink.
        let mut checkpoint: Option<(usize, String)> = None;
        let mut crashes = 0;
        loop {
            let (mut done, opened) = match &checkpoint {
                None => (0, FileSink::create(&config)),
                Some((done, state)) => (*done, FileSink::resume(&config, state)),
            };
            let mut sink = Box::new(opened.unwrap());
            assert_eq!(sink.guarantee(), Guarantee::ExactlyOnce);
            // How many steps this life lasts: a record, a preparation, a checkpoint.
            let mut steps = if crashes < 8 { dice.below(2000) } else { u64::MAX };
            let mut lives = || {
                steps = steps.saturating_sub(1);
                steps > 0
            };
            let survived = 'life: {
                while done < epochs.len() {
                    let start = if done == 0 { 0 } else { epochs[done - 1] };
                    for id in start..epochs[done] {
                        if !lives() {
                            break 'life false;
                        }
                        sink.write(&record(id)).unwrap();
                    }
                    let state = sink.prepare(done as u64 + 1).unwrap();
                    if !lives() {
                        break 'life false;
                    }
                    checkpoint = Some((done + 1, state));
                    if !lives() {
                        break 'life false;
                    }
                    sink.commit(done as u64 + 1).unwrap();
                    done += 1;
                }
                true
            };
            if survived && (crashes >= 8 || dice.below(2) == 0) {
                sink.finish().unwrap();
                break;
            }
            crashes += 1;
            drop(sink);
            crash(&mut dice, &path, checkpoint.as_ref().map_or(0, |(_, state)| safe_bytes(state)));
            assert!(!path.exists(), "nothing is visible under the name before the end");
        }
        assert_eq!(fs::read(&path).unwrap(), undisturbed(name, &epochs), "{name}, seed {seed}, {all} records");
        assert!(!partial(&path).exists());
    }
}

#[test]
fn packed_or_not_the_records_are_all_there_in_order() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, undisturbed(name, &[0, 10, 10, 500])).unwrap();
        let mut config = FileSourceConfig::new(&path);
        if name.contains("csv") {
            config.columns.insert("id".to_owned(), ColumnType::Int);
        }
        let expected: Vec<_> = (0..500).map(|id| Value::Object(record(id))).collect();
        assert_eq!(rest(&mut FileSource::open(&config).unwrap()), (expected, None), "{name}");
    }
    let nothing = tempfile::tempdir().unwrap();
    let path = nothing.path().join("a.jsonl.gz");
    fs::write(&path, undisturbed("a.jsonl.gz", &[0, 0])).unwrap();
    assert_eq!(rest(&mut FileSource::open(&FileSourceConfig::new(&path)).unwrap()), (vec![], None));
}

/// A run that wrote all of its records and prepared, ready to finish.
fn at_the_end(path: &Path) -> (Box<FileSink>, String) {
    let mut sink = Box::new(FileSink::create(&FileSinkConfig::new(path)).unwrap());
    (0..10).for_each(|id| sink.write(&record(id)).unwrap());
    let state = sink.prepare(1).unwrap();
    (sink, state)
}

#[test]
fn a_crash_after_the_file_got_its_name_leaves_nothing_to_do_but_to_finish() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let (sink, state) = at_the_end(&path);
        sink.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        for _ in 0..2 {
            let mut sink = Box::new(FileSink::resume(&FileSinkConfig::new(&path), &state).unwrap());
            assert_eq!(sink.guarantee(), Guarantee::ExactlyOnce);
            sink.flush().unwrap();
            let again = sink.prepare(2).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), serde_json::from_str::<Value>(&state).unwrap());
            let error = sink.write(&record(10)).unwrap_err();
            assert!(error.to_string().contains("was complete when the run was cut short"), "{error}");
            sink.finish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}

#[test]
fn an_output_that_is_not_what_it_was_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let config = FileSinkConfig::new(&path);
    let (sink, state) = at_the_end(&path);
    drop(sink);
    let bytes = fs::read(partial(&path)).unwrap();
    let mut other = bytes.clone();
    other[bytes.len() - 10] ^= 1;
    for changed in [&bytes[..bytes.len() - 1], &other] {
        fs::write(partial(&path), changed).unwrap();
        let error = FileSink::resume(&config, &state).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
        assert!(error.to_string().contains("out.jsonl.partial"), "{error}");
    }
    // Neither it nor what it became; a file of an earlier run is not that.
    fs::remove_file(partial(&path)).unwrap();
    for earlier in [None, Some(&other[..]), Some(b"{}\n")] {
        earlier.iter().for_each(|bytes| fs::write(&path, bytes).unwrap());
        let error = FileSink::resume(&config, &state).unwrap_err();
        assert!(error.to_string().contains("is not there; bring it back"), "{error}");
    }
    for text in ["", "{}", "{\"bytes\":0,\"tail_crc\":0,\"records\":0,\"columns\":[\"a\"]}"] {
        fs::write(partial(&path), b"").unwrap();
        assert_eq!(FileSink::resume(&config, text).unwrap_err().kind(), ErrorKind::Changed, "{text}");
    }
}

#[test]
fn a_file_that_another_run_still_writes_is_not_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let (_still_open, state) = at_the_end(&path);
    assert_eq!(FileSink::resume(&FileSinkConfig::new(&path), &state).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn records_are_counted_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let (sink, state) = at_the_end(&path);
    drop(sink);
    let mut sink = FileSink::resume(&FileSinkConfig::new(&path), &state).unwrap();
    let error = sink.write(json!({"id": 10}).as_object().unwrap()).unwrap_err();
    assert!(error.to_string().contains("record 11: the first record decides the columns"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_delivers_at_least_once_and_is_opened_anew() {
    use inflight_connectors::file::Format;
    let config = FileSinkConfig { format: Some(Format::JsonLines), ..FileSinkConfig::new("/dev/null") };
    assert_eq!(config.guarantee(), Guarantee::AtLeastOnce);
    assert_eq!(FileSinkConfig::new("-").guarantee(), Guarantee::AtLeastOnce);
    assert_eq!(FileSinkConfig::new("none/out.jsonl").guarantee(), Guarantee::ExactlyOnce);
    let mut sink = Box::new(FileSink::create(&config).unwrap());
    assert_eq!((sink.guarantee(), sink.decided().unwrap()), (Guarantee::AtLeastOnce, None));
    sink.write(&record(1)).unwrap();
    let state = sink.prepare(1).unwrap();
    sink.commit(1).unwrap();
    drop(sink);
    Box::new(FileSink::resume(&config, &state).unwrap()).finish().unwrap();
}

//! `inflight check`: every kind of mistake, with the text that is shown for it.

use crate::workspace::{SEVEN_LINES, Workspace};

/// What `check` says about a pipeline that is wrong.
fn errors(pipeline: &str) -> String {
    errors_with(pipeline, &[])
}

fn errors_with(pipeline: &str, variables: &[(&str, &str)]) -> String {
    let ran = Workspace::with(pipeline).run_with(&["check", "p.yaml"], variables);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    ran.stderr
}

/// The seven lines with more keys in the step.
fn with_keys(keys: &str) -> String {
    SEVEN_LINES.replace("{ id: .user_id }\n", &format!("{{ id: .user_id }}\n{keys}"))
}

/// What `check` says about the seven lines with one more key in the step, without the place.
fn key_error(key: &str) -> String {
    let shown = errors(&with_keys(&format!("    {key}\n")));
    assert!(shown.contains("--> p.yaml:6:"), "{shown}");
    let message = shown.lines().next().unwrap().strip_prefix("error: ").unwrap().to_owned();
    let under = shown.lines().last().unwrap();
    let label = under.trim_start_matches([' ', '|', '^']).to_owned();
    format!("{message} ({label})")
}

#[test]
fn seven_lines_are_right() {
    let ran = Workspace::with(SEVEN_LINES).run(&["check", "p.yaml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "p.yaml: right (1 look-up in 1 stage)\n");
}

#[test]
fn the_readme_shows_a_pipeline_that_is_right() {
    let readme = include_str!("../../../../README.md");
    let pipeline = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let ran = Workspace::with(pipeline).run(&["check", "p.yaml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn json_is_read_too() {
    let json = r#"{ "source": { "stdin": {} }, "sink": "stdout", "enrich": { "user": {
        "sqlite": { "database": "users.db", "table": "users" }, "key": { "id": ".id" } } } }"#;
    assert_eq!(Workspace::with(json).run(&["check", "p.yaml"]).code, 0);
}

#[test]
fn unknown_keys_come_with_what_was_probably_meant() {
    let pipeline = with_keys("    capcity: 10k\n").replace("columns: [name, tier]", "colums: [name]");
    assert_eq!(
        errors(&pipeline),
        "\
error: unknown key `colums`
 --> p.yaml:4:49
  |
4 |     sqlite: { database: users.db, table: users, colums: [name] }
  |                                                 ^^^^^^ did you mean `columns`?

error: unknown key `capcity`
 --> p.yaml:6:5
  |
6 |     capcity: 10k
  |     ^^^^^^^ did you mean `capacity`?
"
    );
}

#[test]
fn keys_that_do_not_work_yet_are_refused_as_such() {
    let shown = errors(&with_keys("    grpc: { url: x }\n"));
    assert!(shown.starts_with("error: `grpc` is not supported yet\n --> p.yaml:6:5\n"), "{shown}");
    let shown = errors(&SEVEN_LINES.replace("file: { path: orders.jsonl }", "mysql: { topic: orders }"));
    assert_eq!(
        shown,
        "\
error: `mysql` is not supported yet
 --> p.yaml:1:11
  |
1 | source: { mysql: { topic: orders } }
  |           ^^^^^ known here: file, stdin, kafka, nats
"
    );
    for key in ["parquet: { url: x }", "grpc: {}"] {
        let name = key.split(':').next().unwrap();
        assert!(key_error(key).starts_with(&format!("`{name}` is not supported yet")), "{key}");
    }
    for section in ["tests: []", "time: { field: .ts }"] {
        let shown = errors(&format!("{SEVEN_LINES}{section}\n"));
        assert!(shown.contains("is not supported yet\n --> p.yaml:7:1"), "{shown}");
    }
}

#[test]
fn duplicate_keys() {
    assert_eq!(
        errors(&with_keys("    key: { id: .other }\n")),
        "\
error: key `key` is given twice
 --> p.yaml:6:5
  |
6 |     key: { id: .other }
  |     ^^^ first given in line 5
"
    );
}

#[test]
fn wrong_types() {
    assert_eq!(
        key_error("capacity: many"),
        "`many` is not a count (write a whole number, such as 500 or 10k (10,000) or 2M)"
    );
    assert_eq!(key_error("capacity: [1]"), "expected a whole number such as 500 or 10k, found a list ()");
    assert_eq!(key_error("capacity: -1"), "expected a whole number such as 500 or 10k, found the number -1 ()");
    assert_eq!(key_error("order: inputs"), "unknown word `inputs` (did you mean `input`?)");
    assert_eq!(key_error("order: random"), "unknown word `random` (known here: input, key, key_serial, none)");
    assert_eq!(key_error("order:"), "expected one of input, key, key_serial, none, found nothing ()");
    assert_eq!(
        key_error("on_error: { default: none }"),
        "expected a group of keys, such as { name: value }, found the text `none` ()"
    );
    assert_eq!(
        key_error("on_error: { keep: 3 }"),
        "`keep` stands alone: nothing belongs under it (found the number 3)"
    );
    let shown = errors(&SEVEN_LINES.replace("orders.jsonl", "orders.jsonl, max_line_bytes: -1"));
    assert!(shown.starts_with("error: expected a whole number, not below 0, found the number -1\n"), "{shown}");
    let shown = errors(&SEVEN_LINES.replace("orders.jsonl", "orders.csv, delimiter: tab"));
    assert!(shown.starts_with("error: expected a character, found the text `tab`\n"), "{shown}");
    assert_eq!(key_error("batch: { size: ten }").split(" (").next(), Some("`ten` is not a count"));
    assert_eq!(key_error("retries: { maximum: 3 }"), "unknown key `maximum` (known here: max, backoff, on, budget)");
}

#[test]
fn zero_never_means_infinite() {
    let counts =
        ["capacity: 0", "concurrency: 0", "concurrency: { min: 0 }", "batch: 0", "batch: { size: 0 }", "capacity: '0'"];
    for key in counts.into_iter().chain(["cache: { ttl: 1s, entries: 0 }", "rate_limit: 0/s", "breaker: { probes: 0 }"])
    {
        let expected = "`0` is refused here (zero never means \"no limit\"; write 1 or more)";
        assert_eq!(key_error(key), expected, "{key}");
    }
    for key in ["timeout: 0s", "deadline: 0ms", "cache: { ttl: 0s }"] {
        assert!(key_error(key).contains("is zero (zero never means \"no limit\"; "), "{key}");
    }
    // No retries is what zero retries are.
    assert_eq!(Workspace::with(&with_keys("    retries: 0\n")).run(&["check", "p.yaml"]).code, 0);
}

#[test]
fn bad_durations_counts_and_ranges() {
    let write = "write a number with a unit: us, ms, s, m or h, such as 250ms";
    assert_eq!(key_error("timeout: 5"), format!("the duration `5` has no unit ({write})"));
    assert_eq!(key_error("timeout: 5 seconds"), format!("`5 seconds` is not a duration ({write})"));
    assert_eq!(key_error("deadline: 30h"), "the duration `30h` is too long (at most 24h)");
    assert_eq!(
        key_error("retries: { backoff: 2s..50ms }"),
        "the range `2s..50ms` runs backwards (write the shorter duration first)"
    );
    assert_eq!(
        key_error("retries: 101"),
        "`101` is not a number of retries (write a whole number from 0 (never try again) to 100)"
    );
    assert_eq!(key_error("capacity: 2M"), "capacity 2000000 is too large (at most 1000000)");
    let rate = "`500` is not a rate (write a whole number of calls with a time, such as 500/s, 6000/m or 10k/s)";
    assert_eq!(key_error("rate_limit: 500"), rate);
    let share = "`0.1` is not a share (write a number with a percent sign, such as 10% or 0.5%)";
    assert_eq!(key_error("retries: { budget: '0.1' }"), share);
    assert_eq!(
        key_error("concurrency: automatic"),
        "`automatic` is not a count (write a whole number, such as 500 or 10k (10,000) or 2M)"
    );
    assert_eq!(key_error("breaker: no"), "unknown word `no` (did you mean `on`?)");
}

#[test]
fn numbers_that_contradict_each_other() {
    let shown =
        errors(&with_keys("    capacity: 10\n    concurrency: 20\n    timeout: 2s\n    deadline: 1s\n    batch: 50\n"));
    let messages: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    let expected = [
        "capacity 10 is less than concurrency 20",
        "capacity 10 is less than the batch size 50",
        "timeout 2s is longer than deadline 1s",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn missing_variables() {
    let pipeline = SEVEN_LINES.replace("users.db", "\"${env:INFLIGHT_TEST_DB}\"");
    assert_eq!(
        errors(&pipeline),
        "\
error: the environment variable `INFLIGHT_TEST_DB` is not set
 --> p.yaml:4:25
  |
4 |     sqlite: { database: \"${env:INFLIGHT_TEST_DB}\", table: users, columns: [name, tier] }
  |                         ^^^^^^^^^^^^^^^^^^^^^^^^^ set it, or give a default: ${env:INFLIGHT_TEST_DB:-...}
"
    );
    let ran = Workspace::with(&pipeline).run_with(&["check", "p.yaml"], &[("INFLIGHT_TEST_DB", "users.db")]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn programs_are_not_run() {
    let shown = errors(&SEVEN_LINES.replace("users.db", "\"${exec:pass show db}\""));
    let expected = "error: `${exec:pass show db}` would run a program: a pipeline file runs none\n --> p.yaml:4:25\n";
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn a_value_of_a_variable_adds_no_key_and_is_not_shown() {
    let pipeline = SEVEN_LINES.replace("table: users", "table: \"${env:T}\"");
    let ran = Workspace::with(&pipeline).run_with(&["check", "p.yaml"], &[("T", "users, query: hunter2")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let pipeline = with_keys("    timeout: \"${env:T}\"\n");
    let shown = errors_with(&pipeline, &[("T", "hunter2")]);
    assert!(shown.starts_with("error: `${env:T}` is not a duration\n --> p.yaml:6:14\n"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn steps_that_wait_for_each_other() {
    let pipeline = "\
source: { stdin: {} }
enrich:
  a: { sqlite: { database: d, table: t, columns: [x] }, key: { id: .b.x } }
  b: { sqlite: { database: d, table: t, columns: [x] }, key: { id: .c.x } }
  c: { sqlite: { database: d, table: t, columns: [x] }, key: { id: .a.x } }
sink: { stdout: {} }
";
    assert_eq!(
        errors(pipeline),
        "\
error: steps wait for each other: `a` needs `b` needs `c` needs `a`
 --> p.yaml:3:57
  |
3 |   a: { sqlite: { database: d, table: t, columns: [x] }, key: { id: .b.x } }
  |                                                         ^^^ a key of one of them must come from the source
"
    );
    let shown = errors(&SEVEN_LINES.replace(".user_id", ".user.name"));
    assert!(shown.starts_with("error: step `user` needs its own result\n --> p.yaml:5:5\n"), "{shown}");
}

#[test]
fn references_to_other_steps_name_a_column_that_is_there() {
    let two = |path: &str| {
        let step =
            format!("  firm:\n    sqlite: {{ database: users.db, table: firms }}\n    key: {{ id: {path} }}\nsink:");
        SEVEN_LINES.replace("sink:", &step)
    };
    let ran = Workspace::with(&two(".user.tier")).run(&["check", "p.yaml"]);
    assert_eq!(ran.stdout, "p.yaml: right (2 look-ups in 2 stages)\n");
    assert_eq!(
        errors(&two(".user.teir")),
        "\
error: step `user` has no column `teir`
 --> p.yaml:8:16
  |
8 |     key: { id: .user.teir }
  |                ^^^^^^^^^^ did you mean `tier`?
"
    );
    let shown = errors(&two(".user"));
    assert!(shown.starts_with("error: `.user` is the whole result of step `user`\n --> p.yaml:8:16\n"), "{shown}");
    assert!(shown.ends_with("^^^^^ name one column of it, such as `.user.name`\n"), "{shown}");
    let shown = errors(&two("user.tier"));
    assert!(shown.contains("did you mean \".user.tier\"?"), "{shown}");
}

#[test]
fn dead_letters_need_a_place() {
    assert_eq!(
        errors(&with_keys("    on_error: dead_letter\n")),
        "\
error: the pipeline has no `dead_letter`
 --> p.yaml:6:15
  |
6 |     on_error: dead_letter
  |               ^^^^^^^^^^^ say where such records go: `dead_letter: { file: { path: dead.jsonl } }`
"
    );
    let with_place = with_keys("    on_error: dead_letter\n") + "dead_letter: { file: { path: dead.jsonl } }\n";
    assert_eq!(Workspace::with(&with_place).run(&["check", "p.yaml"]).code, 0);
    let shown = errors(&with_place.replace("file: { path: dead.jsonl }", "stdout: {}"));
    assert!(shown.starts_with("error: dead letters and results would go to the same place\n"), "{shown}");
}

#[test]
fn what_is_missing_is_told() {
    let shown = errors("enrich: { a: { key: { id: .id } } }\nsink: stdout\n");
    assert!(shown.starts_with("error: the pipeline has no `source`\n --> p.yaml:1:1\n"), "{shown}");
    let shown = errors(&SEVEN_LINES.replace("    key: { id: .user_id }\n", ""));
    assert!(shown.starts_with("error: key `key` is missing here\n --> p.yaml:3:3\n"), "{shown}");
    let shown = errors(&SEVEN_LINES.replace("{ id: .user_id }", "{}"));
    assert!(shown.starts_with("error: the key has no column\n --> p.yaml:5:5\n"), "{shown}");
    let shown = errors("source: stdin\nenrich: { a: { key: { id: .id } } }\nsink: stdout\n");
    assert!(shown.starts_with("error: step `a` asks no system\n --> p.yaml:2:11\n"), "{shown}");
    let shown = errors("");
    assert!(shown.starts_with("error: the file is empty\n --> p.yaml:1:1\n"), "{shown}");
    let shown = errors("source: stdin\nenrich: {}\nsink: stdout\n");
    assert!(shown.starts_with("error: there is no step\n --> p.yaml:2:1\n"), "{shown}");
}

#[test]
fn what_does_not_belong_together() {
    let shown = errors(&SEVEN_LINES.replace("{ stdout: { format: json_lines } }", "{ file: { path: orders.jsonl } }"));
    assert!(
        shown.starts_with("error: the sink would overwrite the file that the source reads\n --> p.yaml:6:"),
        "{shown}"
    );
    let shown = errors(&SEVEN_LINES.replace("orders.jsonl", "orders.txt"));
    let expected =
        "error: the name does not tell the format; add `format: json_lines` or `format: csv`\n --> p.yaml:1:25\n";
    assert!(shown.starts_with(expected), "{shown}");
    let setup = "setup: { sqlite: { database: users.db, tables: { usres: { csv: u.csv, key: [id] } } } }\n";
    let shown = errors(&format!("{SEVEN_LINES}{setup}"));
    let expected = "error: `setup` builds no table `users`\n --> p.yaml:4:42\n";
    assert!(shown.starts_with(expected) && shown.ends_with("^^^^^ did you mean `usres`?\n"), "{shown}");
}

#[test]
fn text_that_is_no_yaml() {
    assert_eq!(
        errors("source: a: b\n"),
        "\
error: not valid YAML: mapping values are not allowed in this context
 --> p.yaml:1:10
  |
1 | source: a: b
  |          ^
"
    );
    let workspace = Workspace::new();
    workspace.write("p.yaml", b"source: 1\nenrich: \xff\n");
    let ran = workspace.run(&["check", "p.yaml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (78, "error: p.yaml:2: the text is not valid UTF-8\n"));
}

#[test]
fn several_files_are_all_checked() {
    let workspace = Workspace::with(SEVEN_LINES);
    workspace.write("bad.yaml", "source: 1\n");
    let ran = workspace.run(&["check", "bad.yaml", "missing.yaml", "p.yaml"]);
    assert_eq!(ran.code, 78);
    assert_eq!(ran.stdout, "p.yaml: right (1 look-up in 1 stage)\n");
    assert!(ran.stderr.contains("--> bad.yaml:1:9"), "{ran:?}");
    assert!(ran.stderr.contains("error: missing.yaml: cannot be read: "), "{ran:?}");
}

#[test]
fn the_examples_are_right() {
    for (name, expected) in
        [("flights", "4 look-ups in 1 stage"), ("redis", "3 look-ups in 3 stages"), ("kafka", "1 look-up in 1 stage")]
    {
        if name == "kafka" && !cfg!(feature = "kafka") {
            continue;
        }
        let example = format!("{}/../../examples/{name}/pipeline.yaml", env!("CARGO_MANIFEST_DIR"));
        let ran = Workspace::new().run(&["check", &example]);
        assert_eq!((ran.code, ran.stdout), (0, format!("{example}: right ({expected})\n")));
    }
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_system_that_is_not_built_in_is_told_with_the_way_to_get_it() {
    let text = SEVEN_LINES.replace("stdout: { format: json_lines }", "kafka: { brokers: 'a:1', topic: t }");
    let ran = Workspace::with(&text).run(&["check", "p.yaml"]);
    assert_eq!(ran.code, 78);
    assert!(ran.stderr.contains("cargo install inflight-cli --features kafka"), "{ran:?}");
}

//! `inflight explain`: all defaults, no secret, and a plan.

use crate::workspace::{SEVEN_LINES, Workspace};

#[test]
fn seven_lines_explained() {
    let ran = Workspace::with(SEVEN_LINES).run(&["explain", "p.yaml"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "\
# source    file orders.jsonl, json_lines
#   |
# stage 1   user  sqlite users.db, table users, id = .user_id; input order, 16 calls at once, up to 100 records in each, 3200 held
#   |
# sink      stdout json_lines

source:
  file:
    path: orders.jsonl
    format: json_lines
    compression: none
    max_line_bytes: 16777216
enrich:
  user:
    sqlite:
      database: users.db
      table: users
      columns: [name, tier]
      busy_timeout: 1s
    key: {id: .user_id}
    order: input
    capacity: 3200
    concurrency: 16
    timeout: 1s
    deadline: 5s
    retries:
      max: 3
      backoff: 50ms..2s
      \"on\": [timeout, connection, busy]
      budget: 10%
    batch: {size: 100, linger: 2ms}
    single_flight: true
    hedge: \"off\"
    breaker: \"off\"
    on_missing: keep
    on_error: fail
sink:
  stdout: {format: json_lines, compression: none}
workers: 1
"
    );
}

#[test]
fn what_is_explained_is_a_pipeline_with_the_same_explanation() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/flights/pipeline.yaml");
    let workspace = Workspace::new();
    let once = workspace.run(&["explain", example]);
    workspace.write("p.yaml", &once.stdout);
    let twice = workspace.run(&["explain", "p.yaml"]);
    assert_eq!((twice.code, twice.stdout), (0, once.stdout));
}

#[test]
fn defaults_follow_what_was_given() {
    let given = "    capacity: 4\n    timeout: 100ms\n    retries: 7\n";
    let pipeline = SEVEN_LINES.replace("{ id: .user_id }\n", &format!("{{ id: .user_id }}\n{given}"));
    let shown = Workspace::with(&pipeline).run(&["explain", "p.yaml"]).stdout;
    for line in ["concurrency: 4", "deadline: 500ms", "      max: 7\n      backoff: 50ms..2s\n"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let given = "    concurrency: 100\n    batch: 50\n    deadline: 300ms\n";
    let pipeline = SEVEN_LINES.replace("{ id: .user_id }\n", &format!("{{ id: .user_id }}\n{given}"));
    let shown = Workspace::with(&pipeline).run(&["explain", "p.yaml"]).stdout;
    for line in ["capacity: 10000", "timeout: 300ms", "batch: {size: 50, linger: 2ms}"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn secrets_are_hidden_everywhere() {
    let pipeline = "\
source: { file: { path: orders.jsonl } }
enrich:
  user:
    sqlite: { database: '${env:DB}/users.db', table: '${env:T:-abc}', columns: [name] }
    key: { id: '${env:K}' }
    retries: '${env:R}'
    on_error: { default: { name: '${file:name.txt}' } }
sink: { stdout: {} }
";
    let workspace = Workspace::with(pipeline);
    workspace.write("name.txt", "hunter3\n");
    let variables = [("DB", "hunter1"), ("K", ".hunter2"), ("R", "7")];
    let ran = workspace.run_with(&["explain", "p.yaml"], &variables);
    assert_eq!(ran.code, 0, "{ran:?}");
    for secret in ["hunter", "abc", "max: 7"] {
        assert!(!ran.stdout.contains(secret), "{secret}: {}", ran.stdout);
    }
    for line in ["database: \"***\"", "table: \"***\"", "key: {id: \"***\"}", "retries: \"***\"", "{name: \"***\"}"] {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }
    assert!(ran.stdout.contains("# stage 1   user  sqlite ***, table ***, id = ***; input order"), "{}", ran.stdout);
}

#[test]
fn steps_are_drawn_in_stages() {
    let pipeline = "\
source: stdin
enrich:
  firm: { sqlite: { database: d.db, table: firms }, key: { id: .user.firm, land: .land } }
  user: { sqlite: { database: d.db, table: users, columns: [firm] }, key: { id: .user_id }, order: key }
  shop: { sqlite: { database: d.db, query: 'select 1 from shops where id = $id' }, key: { id: .shop_id } }
sink: { file: { path: out.csv.gz } }
dead_letter: { file: { path: dead.jsonl } }
";
    let ran = Workspace::with(pipeline).run(&["explain", "p.yaml"]);
    let plan: Vec<&str> = ran.stdout.lines().take_while(|line| line.starts_with('#')).collect();
    assert_eq!(
        plan,
        [
            "# source    stdin json_lines",
            "#   |",
            "# stage 1   user  sqlite d.db, table users, id = .user_id; key order, 16 calls at once, up to 100 records in each, 3200 held",
            "#   |       shop  sqlite d.db, query, id = .shop_id; input order, 16 calls at once, up to 100 records in each, 3200 held",
            "#   |",
            "# stage 2   firm  sqlite d.db, table firms, id = .user.firm and land = .land; input order, 16 calls at once, up to 100 records in each, 3200 held",
            "#   |",
            "# sink      file out.csv.gz, csv, gzip",
            "# dead      file dead.jsonl, json_lines",
        ]
    );
}

#[test]
fn what_is_built_is_told() {
    let setup = "setup: { sqlite: { database: users.db, tables: { users: { csv: users.csv, key: [id] } } } }\n";
    let shown = Workspace::with(&format!("{SEVEN_LINES}{setup}")).run(&["explain", "p.yaml"]).stdout;
    assert!(shown.starts_with("# setup     sqlite users.db, built when it is missing: users\n# source "), "{shown}");
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let workspace = Workspace::new();
    workspace.write("deep/p.yaml", SEVEN_LINES);
    let ran = workspace.run(&["explain", "deep/p.yaml"]);
    assert!(ran.stdout.contains("database: users.db\n"), "{ran:?}");
}

#[test]
fn each_sink_says_what_it_holds_after_a_crash_and_why() {
    let pipeline = format!(
        "{SEVEN_LINES}dead_letter: {{ file: {{ path: dead.jsonl }} }}\ncheckpoint: {{ dir: state }}\nworkers: 2\n\
         cluster: {{ hosts: [a:1, b:1] }}\n"
    );
    let workspace = Workspace::with(&pipeline);
    let ran = workspace.run(&["explain", "p.yaml"]);
    let plan: Vec<&str> = ran.stdout.lines().take_while(|line| line.starts_with('#')).skip(4).collect();
    assert_eq!(
        plan,
        [
            "# sink      stdout json_lines; at least once: what was written cannot be taken back, so after a crash some of it comes again",
            "# dead      file dead.jsonl, json_lines; exactly once: after a crash, what no checkpoint covers is cut off before the run goes on",
            "# run by    2 workers in each of 2 processes; what a step may hold and call, each worker may; process 0 writes",
            "# recovery  a checkpoint every 1s in state, the last 3 kept",
        ]
    );
    assert!(
        ran.stdout.contains("checkpoint: {dir: state, every: 1s, keep: 3, replay: none}\nworkers: 2\ncluster:"),
        "{ran:?}"
    );
    workspace.write("again.yaml", &ran.stdout);
    assert_eq!(workspace.run(&["explain", "again.yaml"]).stdout, ran.stdout);
    #[cfg(unix)]
    {
        let device = pipeline.replace("stdout: { format: json_lines }", "file: { path: /dev/null, format: csv }");
        workspace.write("p.yaml", device);
        let shown = workspace.run(&["explain", "p.yaml"]).stdout;
        assert!(shown.contains("# sink      file /dev/null, csv; at least once: it is no file, so"), "{shown}");
    }
}

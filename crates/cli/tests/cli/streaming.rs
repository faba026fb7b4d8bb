//! From standard input to standard output, one record at a time: nothing waits for more.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::running::Running;
use crate::workspace::Workspace;

#[test]
fn a_record_comes_out_before_the_next_goes_in() {
    let workspace = Workspace::with_users("stdin", "", "stdout");
    let mut running = Running::start(&workspace, &["run", "p.yaml"]);
    for (record, enriched) in [
        ("{\"id\":1}\n", "{\"id\":1,\"user\":{\"name\":\"Ada\"}}\n"),
        ("{\"id\":9}\n", "{\"id\":9,\"user\":null}\n"),
        ("{}\n", "{\"user\":null}\n"),
        ("{\"id\":2}\n", "{\"id\":2,\"user\":{\"name\":\"Bob\"}}\n"),
    ] {
        running.write(record);
        running.wait_for(enriched);
    }
    running.close_stdin();
    let ran = running.end();
    assert_eq!((ran.code, ran.records().len()), (0, 4), "{ran:?}");
    assert_eq!(ran.row("user")[..4], ["user", "2", "2", "0"]);
}

#[test]
fn csv_comes_out_line_by_line() {
    let workspace = Workspace::with_users(
        "{ stdin: { format: csv, columns: { id: int } } }",
        "    on_missing: drop\n",
        "{ stdout: { format: csv } }",
    );
    let mut running = Running::start(&workspace, &["run", "p.yaml"]);
    running.write("id,at\n1,noon\n");
    running.wait_for("1,noon,\"{\"\"name\"\":\"\"Ada\"\"}\"\n");
    running.write("2,\"late, very\"\n");
    running.wait_for("2,\"late, very\",\"{\"\"name\"\":\"\"Bob\"\"}\"\n");
    running.close_stdin();
    let ran = running.end();
    assert_eq!((ran.code, ran.stdout.lines().next()), (0, Some("id,at,user")), "{ran:?}");
}

#[test]
fn gzip_comes_out_record_by_record() {
    let workspace = Workspace::with_users("{ stdin: { compression: gzip } }", "", "{ stdout: { compression: gzip } }");
    let mut running = Running::start_packed(&workspace, &["run", "p.yaml"]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(b"{\"id\":1}\n").unwrap();
    packed.flush().unwrap();
    running.write(std::mem::take(packed.get_mut()));
    running.wait_for("{\"id\":1,\"user\":{\"name\":\"Ada\"}}\n");
    packed.write_all(b"{\"id\":2}\n").unwrap();
    running.write(packed.finish().unwrap());
    running.close_stdin();
    let ran = running.end();
    assert_eq!((ran.code, ran.records().len()), (0, 2), "{ran:?}");
}

#[test]
fn nothing_in_is_nothing_out() {
    for (source, input) in
        [("stdin", ""), ("stdin", "\n\n"), ("{ stdin: { format: csv } }", "id\n"), ("{ file: { path: in.jsonl } }", "")]
    {
        let workspace = Workspace::with_users(source, "", "stdout");
        workspace.write("in.jsonl", "");
        let mut running = Running::start(&workspace, &["run", "p.yaml"]);
        running.write(input);
        running.close_stdin();
        let ran = running.end();
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stderr.contains("0 records in, 0 out"), "{ran:?}");
    }
}

#[test]
fn the_limit_ends_a_run_whose_input_stays_open() {
    let workspace = Workspace::with_users("stdin", "", "stdout");
    let mut running = Running::start(&workspace, &["run", "p.yaml", "--limit", "2"]);
    running.write("{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
    let ran = running.end();
    assert_eq!((ran.code, ran.records().len()), (0, 2), "{ran:?}");
}

//! Several threads: the same output, or the same records where no order was asked for.

use crate::recovery::{OUT, undisturbed, workspace};

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn any_number_of_workers_writes_the_same() {
    let (expected, _) = undisturbed();
    for workers in ["1", "2", "4"] {
        let workspace = workspace(OUT, "");
        let ran = workspace.run(&["run", "p.yaml", "--workers", workers]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(workspace.read("out.jsonl") == expected, "{workers}");
        assert_eq!(ran.row("user")[..4], ["user", "8,000", "8,000", "4,000"]);
        let unordered = workspace.read("p.yaml").replace("key: { id: .id }\n", "key: { id: .id }\n    order: none\n");
        workspace.write("p.yaml", unordered);
        let ran = workspace.run(&["run", "p.yaml", "--workers", workers, "--from-scratch"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(sorted(&workspace.read("out.jsonl")) == sorted(&expected), "{workers}");
    }
}

#[test]
fn files_are_dealt_to_the_workers_and_each_keeps_its_order() {
    let workspace = workspace(OUT, "workers: 2\n");
    let pipeline = workspace.read("p.yaml").replace("path: in.jsonl", "path: 'in-*.jsonl'");
    workspace.write("p.yaml", pipeline);
    for file in 0..3 {
        let records = (0..2_000).map(|n| format!("{{\"file\":{file},\"n\":{n},\"id\":1}}\n"));
        workspace.write(&format!("in-{file}.jsonl"), records.collect::<String>());
    }
    let ran = workspace.run(&["run", "p.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut next = [0; 3];
    for record in crate::workspace::json_lines(&workspace.read("out.jsonl")) {
        let (file, n) = (record["file"].as_u64().unwrap() as usize, record["n"].as_u64().unwrap());
        assert_eq!(n, next[file]);
        next[file] += 1;
    }
    assert_eq!(next, [2_000; 3]);
}

#[test]
fn a_run_goes_on_with_another_number_of_workers() {
    let workspace = workspace(OUT, "");
    for (workers, limit) in [("3", "4000"), ("1", "7000"), ("2", "100000")] {
        let ran = workspace.run(&["run", "p.yaml", "--workers", workers, "--limit", limit]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert!(workspace.read("out.jsonl") == undisturbed().0);
}

//! Who may import whom.

use super::{Complaint, Text};
use crate::source::Source;
use crate::workspace::Package;

/// What each crate may import of this repository, and in tests besides. What is not here is forbidden.
const LAYERS: [(&str, &[&str], &[&str]); 8] = [
    ("inflight-core", &[], &[]),
    ("inflight", &["inflight-core"], &[]),
    ("inflight-connectors", &["inflight"], &[]),
    ("inflight-timely", &["inflight", "inflight-core"], &[]),
    ("inflight-cli", &["inflight", "inflight-connectors", "inflight-timely"], &[]),
    ("inflight-sim", &["inflight-core", "inflight", "inflight-timely"], &[]),
    ("inflight-bench", &["inflight-core", "inflight", "inflight-connectors", "inflight-timely"], &[]),
    ("xtask", &[], &["inflight-cli", "inflight-connectors"]),
];

/// Imports nothing, not even from elsewhere.
const PURE: &str = "inflight-core";

/// One system of the connectors may use another only here: (who, whom). SQLite loads its tables from CSV files, and rows
/// in memory come from files.
const SYSTEMS: [(&str, &str); 2] = [("memory", "file"), ("sqlite", "file")];

const CONNECTORS: &str = "crates/connectors/src/";

/// The dependencies of each package, and that each one takes over the lints and forbids unsafe code.
pub(crate) fn check(packages: &[Package], texts: &[Text]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for package in packages {
        let manifest = package.folder.join("Cargo.toml").to_string_lossy().into_owned();
        let layer = LAYERS.iter().find(|(name, ..)| *name == package.name);
        let Some((_, always, in_tests)) = layer else {
            complaints.push(Complaint::new(
                &manifest,
                0,
                "a new crate: say in xtask/src/tidy/layers.rs what it may import",
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let allowed = always.contains(&name) || (dependency.dev && in_tests.contains(&name));
            if dependency.local && !allowed {
                complaints.push(Complaint::new(&manifest, 0, format!("{} must not import {name}", package.name)));
            } else if package.name == PURE && !dependency.dev {
                complaints.push(Complaint::new(
                    &manifest,
                    0,
                    format!("{PURE} has no dependencies, so not {name} either"),
                ));
            }
        }
    }
    complaints.extend(texts.iter().filter_map(lints));
    complaints
}

fn lints(file: &Text) -> Option<Complaint> {
    let complain = |what: &str| Some(Complaint::new(&file.path, 0, what));
    let is_root = file.path.starts_with("crates/") && file.path.ends_with("/src/lib.rs");
    match file.path.as_str() {
        _ if is_root && !file.text.contains("#![forbid(unsafe_code)]") => {
            complain("unsafe code is not forbidden: #![forbid(unsafe_code)]")
        }
        "crates/core/src/lib.rs" if !file.text.contains("#![no_std]") => complain("the core is not no_std"),
        "fuzz/Cargo.toml" => None, // a workspace of its own
        path if path.ends_with("/Cargo.toml") && !file.text.contains("[lints]\nworkspace = true") => {
            complain("the lints of the workspace are not taken over: [lints] workspace = true")
        }
        _ => None,
    }
}

/// The folders of the connectors do not import each other.
pub(crate) fn check_connectors(sources: &[Source]) -> Vec<Complaint> {
    let system = |source: &Source| Some(source.path.strip_prefix(CONNECTORS)?.split_once('/')?.0.to_owned());
    let mut systems: Vec<String> = sources.iter().filter_map(system).collect();
    systems.sort_unstable();
    systems.dedup();
    let mut complaints = Vec::new();
    for (source, own) in sources.iter().filter_map(|source| Some((source, system(source)?))) {
        for other in systems.iter().filter(|other| **other != own && !SYSTEMS.contains(&(&own, other))) {
            for import in [format!("crate::{other}::"), format!("super::{other}::")] {
                for (at, _) in source.code.match_indices(&import) {
                    let what = format!("the connector {own} must not import the connector {other}");
                    complaints.push(Complaint::new(&source.path, source.line(at), what));
                }
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool, bool)]) -> Package {
        let dependency = |&(name, local, dev): &(&str, bool, bool)| Dependency { name: name.to_owned(), local, dev };
        Package {
            name: name.to_owned(),
            folder: "crates/it".into(),
            features: Vec::new(),
            examples: Vec::new(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    fn complaints(name: &str, dependencies: &[(&str, bool, bool)]) -> Vec<String> {
        check(&[package(name, dependencies)], &[]).into_iter().map(|complaint| complaint.what).collect()
    }

    #[test]
    fn imports_go_downwards_only() {
        assert_eq!(complaints("inflight", &[("inflight-core", true, false), ("tokio", false, false)]), [""; 0]);
        assert_eq!(complaints("inflight", &[("inflight-cli", true, false)]), ["inflight must not import inflight-cli"]);
        assert_eq!(complaints("inflight-timely", &[("inflight-sim", true, true)]).len(), 1);
        assert_eq!(complaints("inflight-connectors", &[("inflight-timely", true, false)]).len(), 1);
    }

    #[test]
    fn the_core_imports_nothing_at_all() {
        assert_eq!(complaints("inflight-core", &[("serde", false, false)]).len(), 1);
        assert_eq!(complaints("inflight-core", &[("proptest", false, true)]), [""; 0]);
    }

    #[test]
    fn a_new_crate_needs_its_place() {
        assert!(complaints("inflight-new", &[])[0].contains("a new crate"));
    }

    #[test]
    fn lints_are_taken_over() {
        let manifest = |text: &str| Text { path: "crates/a/Cargo.toml".to_owned(), text: text.to_owned() };
        assert!(lints(&manifest("[lints]\nworkspace = true\n")).is_none());
        assert!(lints(&manifest("[package]\n")).is_some());
        let root = |text: &str| Text { path: "crates/a/src/lib.rs".to_owned(), text: text.to_owned() };
        assert!(lints(&root("#![forbid(unsafe_code)]")).is_none() && lints(&root("//! It\n")).is_some());
    }

    #[test]
    fn connectors_do_not_import_each_other() {
        let file = |path: &str, text: &str| Source::new(&format!("{CONNECTORS}{path}"), text);
        let sources = [
            file("file/mod.rs", "use crate::sqlite::Lookup;\n"),
            file("sqlite/load.rs", "use crate::file::Csv;\n// crate::redis::\n"),
            file("redis/mod.rs", "\nuse crate::file::Csv;\n"),
        ];
        let found: Vec<String> = check_connectors(&sources).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/connectors/src/file/mod.rs:1: the connector file must not import the connector sqlite",
                "crates/connectors/src/redis/mod.rs:2: the connector redis must not import the connector file",
            ]
        );
    }
}

//! The workspace as `cargo metadata` tells it, in plain data.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub(crate) struct Workspace {
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    /// The folder, from the root of the repository.
    pub(crate) folder: PathBuf,
    pub(crate) features: Vec<String>,
    /// Those in the folder examples/; what a crate keeps beside itself are measurements.
    pub(crate) examples: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only tests, benches and examples see it.
    pub(crate) dev: bool,
    /// It is a crate of this repository.
    pub(crate) local: bool,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

impl Workspace {
    pub(crate) fn read() -> Result<Self, String> {
        let output = cargo()
            .args(["metadata", "--format-version=1", "--no-deps"])
            .output()
            .map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
        Ok(Self {
            target: text(&metadata["target_directory"]).into(),
            packages: list(&metadata["packages"]).map(Package::from_metadata).collect(),
        })
    }
}

impl Package {
    fn from_metadata(package: &Value) -> Self {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let folder = manifest.parent().unwrap_or(&manifest);
        let is_example = |target: &&Value| {
            let folder = root().join("examples").canonicalize();
            let file = PathBuf::from(text(&target["src_path"])).canonicalize();
            folder.is_ok_and(|folder| file.is_ok_and(|file| file.starts_with(folder)))
                && list(&target["kind"]).any(|kind| kind == "example")
        };
        Self {
            name: text(&package["name"]),
            folder: folder.strip_prefix(root()).unwrap_or(folder).to_owned(),
            features: package["features"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect(),
            examples: list(&package["targets"]).filter(is_example).map(|target| text(&target["name"])).collect(),
            dependencies: list(&package["dependencies"])
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]),
                    dev: dependency["kind"] == "dev",
                    local: dependency["path"].is_string(),
                })
                .collect(),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

//! Apache Kafka: one broker, from the jars of Maven Central, on the Java that is installed.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Ground, Running, STARTS_WITHIN, free_port, shown, wait_until};

/// A script that starts one more broker, for tests that kill it.
const BROKER: &str = "INFLIGHT_TEST_KAFKA_BROKER";
/// Where that script finds the jars.
const JARS: &str = "INFLIGHT_KAFKA_JARS";
/// Where it speaks TLS: to the user `inflight`, and to whoever shows a certificate that it trusts.
const SECURE: &str = "INFLIGHT_TEST_KAFKA_SECURE";
const MUTUAL: &str = "INFLIGHT_TEST_KAFKA_MUTUAL";
/// The folder with `broker.crt`, and with `client.crt` and `client.key`.
const CERTIFICATES: &str = "INFLIGHT_TEST_KAFKA_CERTIFICATES";
const POM: &str = include_str!("kafka/pom.xml");
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.7.0:copy-dependencies";

const PASSWORD: &str = "of-the-test-server";

pub(super) fn start(ground: &Ground) -> Result<Running, String> {
    let jars = jars(ground)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/servers/kafka/broker.sh");
    let certificates = certificates(ground);
    let port = free_port()?;
    let mut broker = Command::new(&script);
    broker.arg(ground.folder.join("broker")).args([free_port()?.to_string(), format!("PLAINTEXT:{port}")]);
    broker.env(JARS, &jars).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut facts = vec![(BROKER, shown(&script)), (JARS, shown(&jars))];
    if let Some(certificates) = certificates {
        let (secure, mutual) = (free_port()?, free_port()?);
        broker.args([format!("SECURE:{secure}"), format!("MUTUAL:{mutual}")]);
        broker.env("INFLIGHT_KAFKA_CERTIFICATES", &certificates).env("INFLIGHT_KAFKA_PASSWORD", PASSWORD);
        facts.extend([
            (SECURE, format!("127.0.0.1:{secure}")),
            (MUTUAL, format!("127.0.0.1:{mutual}")),
            (CERTIFICATES, shown(&certificates)),
        ]);
    }
    let process = broker.spawn().map_err(|error| format!("{}: {error}", shown(&script)))?;
    let address = format!("127.0.0.1:{port}");
    let mut running = Running { process, folder: ground.folder.clone(), address, facts };
    let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    if wait_until(STARTS_WITHIN, || answers() || !matches!(running.process.try_wait(), Ok(None))) && answers() {
        return Ok(running);
    }
    let log = fs::read_to_string(ground.folder.join("broker/log")).unwrap_or_default();
    Err(format!("it does not answer: {}", log.lines().last().unwrap_or("and says nothing; is Java 17 installed?")))
}

/// Certificates of the broker and of a client, each signed by itself, made with openssl where there is one.
fn certificates(ground: &Ground) -> Option<PathBuf> {
    let made = |name: &str| {
        let [key, certificate] = ["key", "crt"].map(|kind| ground.folder.join(format!("{name}.{kind}")));
        let mut openssl = ground.command("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]);
        openssl.arg(format!("/CN={name}")).args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        ground.call(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        let text = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", shown(path)));
        ground.write(&format!("{name}.pem"), &(text(&key)? + &text(&certificate)?))
    };
    match made("broker").and_then(|_| made("client")) {
        Ok(_) => Some(ground.folder.clone()),
        Err(why) => {
            eprintln!("!!! Kafka without TLS, whose test is SKIPPED: {why}");
            None
        }
    }
}

/// The jars, fetched once into a folder beside those of the servers.
fn jars(ground: &Ground) -> Result<PathBuf, String> {
    let version = POM.lines().find_map(|line| line.trim().strip_prefix("<version>4")?.strip_suffix("</version>"));
    let name = format!("kafka-4{}", version.ok_or("the pom names no version of Kafka")?);
    let jars = ground.target.join(name);
    if jars.is_dir() {
        return Ok(jars);
    }
    let fetched = ground.target.join(format!("kafka-{}", std::process::id()));
    fs::create_dir_all(&fetched).map_err(|error| format!("{}: {error}", shown(&fetched)))?;
    let pom = fetched.join("pom.xml");
    fs::write(&pom, POM).map_err(|error| format!("{}: {error}", shown(&pom)))?;
    println!("$ mvn {PLUGIN}");
    let mut maven = Command::new("mvn");
    // A download whose checksum is wrong fails.
    maven.args(["--batch-mode", "--quiet", "--strict-checksums", PLUGIN, "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", shown(&fetched))).current_dir(&fetched).stdin(Stdio::null());
    let output = maven.output().map_err(|error| format!("mvn: {error}; install Maven and Java 17"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stdout);
        let why = words.lines().find(|line| line.contains("ERROR")).unwrap_or("it says nothing").to_owned();
        let _ = fs::remove_dir_all(&fetched);
        return Err(format!("mvn: {}: {why}", output.status));
    }
    // Another process may have been faster.
    if fs::rename(&fetched, &jars).is_err() {
        let _ = fs::remove_dir_all(&fetched);
    }
    Ok(jars)
}

//! Encrypted, and as somebody: the way to brokers that are not one's own.

use super::broker::{Broker, variable};
use super::{all_of, record, with_users};
use crate::workspace::{Ran, Workspace};

const PASSWORD: &str = "of-the-test-server";
const RECORDS: u64 = 50;

/// Where a broker speaks TLS, and the certificates that go with it.
struct Secure {
    broker: Broker,
    secure: String,
    mutual: String,
    certificates: String,
}

impl Secure {
    fn new() -> Option<Self> {
        Some(Self {
            broker: Broker::shared()?,
            secure: variable("INFLIGHT_TEST_KAFKA_SECURE")?,
            mutual: variable("INFLIGHT_TEST_KAFKA_MUTUAL")?,
            certificates: variable("INFLIGHT_TEST_KAFKA_CERTIFICATES")?,
        })
    }

    /// As the user, with this mechanism.
    fn user(&self, mechanism: &str) -> String {
        let Self { secure, certificates, .. } = self;
        format!(
            "brokers: '{secure}', tls: {{ ca: {certificates}/broker.crt }}, user: inflight, \
             password: '${{env:PASSWORD}}', mechanism: {mechanism}"
        )
    }

    /// With the certificate of the client.
    fn certificate(&self) -> String {
        let Self { mutual, certificates, .. } = self;
        let files = ["ca: broker.crt", "cert: client.crt", "key: client.key"]
            .map(|file| file.replace(": ", &format!(": {certificates}/")));
        format!("brokers: '{mutual}', tls: {{ {} }}", files.join(", "))
    }

    fn workspace(&self, server: &str, from: &str, to: &str) -> Workspace {
        with_users(
            &format!("{{ kafka: {{ {server}, topic: {from}, until: end }} }}"),
            &format!("{{ kafka: {{ {server}, topic: {to}, exactly_once: true }} }}"),
            "checkpoint: { dir: state }\n",
        )
    }
}

fn run(workspace: &Workspace, args: &[&str], password: &str) -> Ran {
    workspace.run_with(args, &[("PASSWORD", password)])
}

#[test]
fn topics_are_read_and_written_encrypted_by_a_user_and_by_certificate() {
    let Some(secure) = Secure::new() else { return };
    let servers = ["plain", "scram-sha-256", "scram-sha-512"].map(|mechanism| secure.user(mechanism));
    for server in servers.into_iter().chain([secure.certificate()]) {
        let (from, to) = (secure.broker.topic("secure", 2), secure.broker.topic("secure-out", 2));
        secure.broker.fill(&from, (0..RECORDS).map(record));
        let workspace = secure.workspace(&server, &from, &to);
        let ran = run(&workspace, &["run", "p.yaml"], PASSWORD);
        assert_eq!((ran.code, secure.broker.numbers(&to)), (0, all_of(RECORDS)), "{server}: {ran:?}");
        let explained = run(&workspace, &["explain", "p.yaml"], PASSWORD);
        assert!(explained.stdout.contains("tls:") && !explained.stdout.contains(PASSWORD), "{explained:?}");
    }
}

#[test]
fn who_is_not_let_in_or_not_to_be_trusted_is_told_in_a_sentence() {
    let Some(secure) = Secure::new() else { return };
    let topic = secure.broker.topic("secure-told", 1);
    let other = secure.broker.topic("secure-told-out", 1);
    let (user, certificate) = (secure.user("scram-sha-512"), secure.certificate());
    let trust = format!("tls: {{ ca: {}/broker.crt }}", secure.certificates);
    let key = certificate.split_once("cert:").unwrap().1;
    for (server, password, expected) in [
        (user.clone(), "hunter2", "check `user`, `password` and `mechanism`"),
        (secure.user("plain"), "hunter2", "check `user`, `password` and `mechanism`"),
        (user.replace(&trust, "tls: {}"), PASSWORD, "is not signed by an authority that is trusted"),
        (user.replace("broker.crt", "client.crt"), PASSWORD, "is not signed by an authority that is trusted"),
        (user.replace("broker.crt", "nowhere.crt"), PASSWORD, "nowhere.crt: `ca`: cannot be read"),
        (certificate.replace(&format!(", cert:{key}"), " }"), PASSWORD, "wants to see a certificate that it trusts"),
    ] {
        let workspace = secure.workspace(&server, &topic, &other);
        let checked = run(&workspace, &["check", "p.yaml", "--connect"], password);
        let told = format!("{}{}", checked.stdout, checked.stderr);
        assert!(checked.code == 1 && told.matches(expected).count() == 2, "{expected}: {told}");
        assert!(!told.contains(PASSWORD) && !told.contains("hunter2"), "{told}");
    }
    let ran = run(&secure.workspace(&user, &topic, &other), &["run", "p.yaml"], "hunter2");
    assert!(ran.code == 1 && ran.stderr.contains("does not let us in"), "{ran:?}");
}

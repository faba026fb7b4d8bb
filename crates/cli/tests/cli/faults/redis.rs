//! What Redis may do to a run.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use redis::Connection;
use tempfile::TempDir;

use super::dialect::Dialect;
use super::pace::Pace;
use super::place::{PASSWORD, Place, TIMEOUT_MS};
use super::proxy::{Manner, Proxy};
use crate::running::wait_until;

/// More than go through in the longest of these runs.
const USERS: u64 = 30_000;

/// A server of the test's own with users in it, and a proxy before it.
struct Store {
    place: Place,
    address: SocketAddr,
    folder: TempDir,
    program: String,
    process: Mutex<Child>,
}

impl Deref for Store {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Store {
    fn new() -> Option<Self> {
        let Ok(program) = std::env::var("INFLIGHT_TEST_REDIS_SERVER") else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "INFLIGHT_TEST_REDIS_SERVER is not set");
            eprintln!("!!! SKIPPED: INFLIGHT_TEST_REDIS_SERVER is not set; cargo xtask servers tells it");
            return None;
        };
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let process = Mutex::new(spawn(&program, &folder, address));
        let proxy = Proxy::to(address, Dialect::Redis);
        let url = format!("redis://:{PASSWORD}@{}", proxy.address());
        let place = Place::usual(proxy, url, "redis: { url: '${env:URL}', get: 'user:{id}' }");
        let store = Self { place, address, folder, program, process };
        let mut users = redis::pipe();
        for id in 0..USERS {
            users.set(format!("user:{id}"), format!("{{\"name\":\"u{id}\"}}")).ignore();
        }
        let mut connection = store.connection(PASSWORD);
        users.exec(&mut connection).unwrap();
        redis::cmd("SAVE").exec(&mut connection).unwrap();
        Some(store)
    }

    fn connection(&self, password: &str) -> Connection {
        let client = redis::Client::open(format!("redis://:{password}@{}", self.address)).unwrap();
        wait_until("the server answers", || client.get_connection().is_ok());
        client.get_connection().unwrap()
    }

    fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// It reads its users from the disk.
    fn start_again(&self) {
        *self.process.lock().unwrap() = spawn(&self.program, &self.folder, self.address);
        self.connection(PASSWORD);
    }
}

fn spawn(program: &str, folder: &TempDir, address: SocketAddr) -> Child {
    let settings = format!(
        "bind 127.0.0.1\nport {}\nrequirepass {PASSWORD}\nsave \"\"\ndir {}\n",
        address.port(),
        folder.path().display()
    );
    let file = folder.path().join("settings");
    std::fs::write(&file, settings).unwrap();
    Command::new(program).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

const TOLD: [&str; 2] = ["look-up `user` waits: ", "look-up `user` goes on after "];

#[test]
fn a_server_that_is_down_at_the_start_is_waited_for() {
    let Some(store) = Store::new() else { return };
    store.proxy.go_down();
    let mut flow = store.start();
    flow.fault_begins();
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.go_on(store.pace.fault);
    store.proxy.come_up();
    flow.fault_ends();
    flow.wait_until_out(1);
    flow.go_on(store.pace.after);
    store.ended_well(flow, "Redis: server down at start").says_once(&TOLD);
}

#[test]
fn a_server_that_is_killed_and_started_again_fails_no_record() {
    let Some(store) = Store::new() else { return };
    store.outlives("Redis: killed and started again", || store.kill(), || store.start_again()).says_once(&TOLD);
}

#[test]
fn connections_that_hang_fail_no_record() {
    let Some(store) = Store::new() else { return };
    let hang = || store.proxy.behave(Manner::Hang);
    store.outlives("Redis: hangs, nothing is closed", hang, || store.proxy.behave(Manner::Pass)).says_once(&TOLD);
}

#[test]
fn answers_slower_than_the_timeout_fail_no_record() {
    let Some(store) = Store::new() else { return };
    let late = Manner::Late(Duration::from_millis(TIMEOUT_MS * 3 / 2));
    store.outlives(
        "Redis: answers slower than the timeout",
        || store.proxy.behave(late),
        || store.proxy.behave(Manner::Pass),
    );
}

#[test]
fn connections_that_are_reset_in_mid_answer_fail_no_record() {
    let Some(store) = Store::new() else { return };
    let reset = || store.proxy.behave(Manner::Reset(2_000));
    store.outlives("Redis: connections reset in mid-answer", reset, || store.proxy.behave(Manner::Pass));
}

#[test]
fn a_password_that_changes_delays_records() {
    let Some(store) = Store::new() else { return };
    let set = |before: &str, password: &str| {
        let mut connection = store.connection(before);
        redis::cmd("CONFIG").arg(&["SET", "requirepass", password]).exec(&mut connection).unwrap();
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut connection).unwrap();
    };
    store
        .outlives("Redis: wrong password in mid-run", || set(PASSWORD, "another"), || set("another", PASSWORD))
        .says_once(&TOLD);
}

#[test]
fn a_server_without_room_for_any_connection_is_waited_for() {
    let Some(store) = Store::new() else { return };
    // The one that sets it is the one.
    let mut connection = store.connection(PASSWORD);
    let set = |connection: &mut Connection, most: &str| {
        redis::cmd("CONFIG").arg(&["SET", "maxclients", most]).exec(connection).unwrap();
    };
    let mut flow = store.start();
    flow.wait_until_out(1);
    flow.go_on(store.pace.before);
    flow.fault_begins();
    set(&mut connection, "1");
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut connection).unwrap();
    flow.go_on(store.pace.fault);
    set(&mut connection, "1000");
    flow.fault_ends();
    flow.go_on(store.pace.after);
    store.ended_well(flow, "Redis: room for no connection").says_once(&TOLD);
}

#[test]
fn an_outage_at_seventy_percent_of_the_load_is_made_up_for() {
    let Some(store) = Store::new() else { return };
    store.proxy.limit_to(Pace::read().capacity);
    store.outlives("Redis: outage at 70 % load", || store.proxy.go_down(), || store.proxy.come_up());
}

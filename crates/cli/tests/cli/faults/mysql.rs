//! What MySQL may do to a run.
#![cfg(feature = "mysql")]

use std::net::SocketAddr;
use std::ops::Deref;

use super::dialect::Dialect;
use super::place::{PASSWORD, Place};
use super::proxy::{Manner, Proxy};
use crate::mysql::Database;

/// A database that only a user of its own can read, and a proxy before the server.
struct Users {
    place: Place,
    database: Database,
    user: String,
}

const TABLES: &str = "
    set max_recursive_iterations = 100000;
    create table users (id int primary key, name varchar(20));
    insert into users with recursive ids as (select 0 as id union all select id + 1 from ids where id < 29999)
        select id, concat('u', id) from ids";

impl Deref for Users {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Users {
    fn new(name: &str) -> Option<Self> {
        let user = format!("inflight_faults_{name}");
        let database = Database::new(&user, TABLES)?;
        let host = database.url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap();
        let server: SocketAddr = host.parse().unwrap();
        let proxy = Proxy::to(server, Dialect::Mysql);
        let url = format!("mysql://{user}:{PASSWORD}@{}/{user}", proxy.address());
        let asks = "mysql: { url: '${env:URL}', table: users, columns: [name], sslmode: disable }";
        let place = Place::usual(proxy, url, asks);
        let users = Self { place, database, user };
        let user = &users.user;
        users.database.do_it(&format!(
            "create or replace user {user}@'127.0.0.1' identified by '{PASSWORD}'; grant select on {user}.* to {user}@'127.0.0.1'"
        ));
        Some(users)
    }

    fn alter_user(&self, how: &str) {
        self.database.do_it(&format!("alter user {}@'127.0.0.1' {how}", self.user));
    }

    /// The server throws everybody out.
    fn terminate(&self) {
        self.database.do_it(&format!("kill user {}@'127.0.0.1'", self.user));
    }
}

const TOLD: [&str; 2] = ["look-up `user` waits: ", "look-up `user` goes on after "];

#[test]
fn a_server_that_is_down_at_the_start_is_waited_for() {
    let Some(users) = Users::new("start") else { return };
    users.proxy.go_down();
    let mut flow = users.start();
    flow.fault_begins();
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.go_on(users.pace.fault);
    users.proxy.come_up();
    flow.fault_ends();
    flow.wait_until_out(1);
    flow.go_on(users.pace.after);
    users.ended_well(flow, "MySQL: server down at start").says_once(&TOLD);
}

#[test]
fn a_server_that_is_restarted_fails_no_record() {
    let Some(users) = Users::new("restarted") else { return };
    let goes_down = || {
        users.proxy.go_down();
        users.terminate();
    };
    users.outlives("MySQL: server restarted", goes_down, || users.proxy.come_up()).says_once(&TOLD);
}

#[test]
fn connections_that_hang_fail_no_record() {
    let Some(users) = Users::new("hangs") else { return };
    let hang = || users.proxy.behave(Manner::Hang);
    users.outlives("MySQL: hangs, nothing is closed", hang, || users.proxy.behave(Manner::Pass)).says_once(&TOLD);
}

#[test]
fn connections_that_are_reset_in_mid_answer_fail_no_record() {
    let Some(users) = Users::new("reset") else { return };
    let reset = || users.proxy.behave(Manner::Reset(2_000));
    users.outlives("MySQL: connections reset in mid-answer", reset, || users.proxy.behave(Manner::Pass));
}

#[test]
fn a_password_that_changes_delays_records() {
    let Some(users) = Users::new("password") else { return };
    let changes = || {
        users.alter_user("identified by 'another'");
        users.terminate();
    };
    let mends = || users.alter_user(&format!("identified by '{PASSWORD}'"));
    users.outlives("MySQL: wrong password in mid-run", changes, mends).says_once(&TOLD);
}

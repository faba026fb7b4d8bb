//! What a service may do to a run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use super::dialect::Dialect;
use super::pace::Pace;
use super::place::{PASSWORD, Place, TIMEOUT_MS};
use super::proxy::{Manner, Proxy};

/// A service that knows all users, unless it is told to say something else, and a proxy before it.
struct Service {
    place: Place,
    /// The status of each answer.
    status: Arc<AtomicU16>,
}

impl Deref for Service {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Service {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap(), Dialect::Http);
        let status = Arc::new(AtomicU16::new(200));
        let answering = Arc::clone(&status);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answering = Arc::clone(&answering);
                thread::spawn(move || answer(&stream.unwrap(), &answering));
            }
        });
        let asks = format!(
            "http: {{ url: 'http://{}/users/{{id}}', headers: {{ authorization: 'Bearer ${{env:URL}}' }} }}",
            proxy.address()
        );
        Self { place: Place::usual(proxy, PASSWORD.to_owned(), &asks), status }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// Answers requests until there are no more.
fn answer(stream: &TcpStream, status: &AtomicU16) {
    stream.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    loop {
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let target = head.first().and_then(|line| line.split(' ').nth(1));
        let Some(id) = target.and_then(|target| target.strip_prefix("/users/")) else { return };
        let is_allowed = head.iter().any(|line| *line == format!("authorization: Bearer {PASSWORD}"));
        let status = if is_allowed { status.load(Ordering::Relaxed) } else { 401 };
        let body = if status == 200 { format!("{{\"name\":\"u{id}\"}}") } else { String::new() };
        let answer = format!("HTTP/1.1 {status} As told\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

const TOLD: [&str; 2] = ["look-up `user` waits: ", "look-up `user` goes on after "];

#[test]
fn a_service_that_is_down_at_the_start_is_waited_for() {
    let service = Service::new();
    service.proxy.go_down();
    let mut flow = service.start();
    flow.fault_begins();
    flow.wait_for_stderr("look-up `user` waits: ");
    flow.go_on(service.pace.fault);
    service.proxy.come_up();
    flow.fault_ends();
    flow.wait_until_out(1);
    flow.go_on(service.pace.after);
    service.ended_well(flow, "HTTP: service down at start").says_once(&TOLD);
}

#[test]
fn a_service_that_is_restarted_fails_no_record() {
    let service = Service::new();
    service.proxy.limit_to(Pace::read().capacity);
    service
        .outlives("HTTP: outage at 70 % load", || service.proxy.go_down(), || service.proxy.come_up())
        .says_once(&TOLD);
}

#[test]
fn connections_that_hang_fail_no_record() {
    let service = Service::new();
    let hang = || service.proxy.behave(Manner::Hang);
    service.outlives("HTTP: hangs, nothing is closed", hang, || service.proxy.behave(Manner::Pass)).says_once(&TOLD);
}

#[test]
fn answers_slower_than_the_timeout_fail_no_record() {
    let service = Service::new();
    let late = Manner::Late(Duration::from_millis(TIMEOUT_MS * 3 / 2));
    service.outlives(
        "HTTP: answers slower than the timeout",
        || service.proxy.behave(late),
        || service.proxy.behave(Manner::Pass),
    );
}

#[test]
fn connections_that_are_reset_in_mid_answer_fail_no_record() {
    let service = Service::new();
    let reset = || service.proxy.behave(Manner::Reset(2_000));
    service.outlives("HTTP: connections reset in mid-answer", reset, || service.proxy.behave(Manner::Pass));
}

#[test]
fn a_service_that_refuses_everything_fails_no_record() {
    for status in [500, 503, 429, 401] {
        let service = Service::new();
        let fault = format!("HTTP: every answer is {status}");
        let story = service.outlives(&fault, || service.answers(status), || service.answers(200));
        story.says_once(&TOLD);
        story.says_once(&[&format!("the service answers {status}")]);
    }
}

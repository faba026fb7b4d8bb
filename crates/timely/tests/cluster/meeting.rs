//! The set-up: who does not belong is told so, and nobody waits for ever. The processes are threads here.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use inflight_timely::cluster::{ClusterError, Layout};

use crate::jobs::{Job, Share, run};
use crate::{hosts, layout};

type Meets = JoinHandle<Result<Vec<Share>, ClusterError>>;

fn start(layout: &Layout, greeting: &str) -> Meets {
    let (layout, greeting) = (layout.clone(), greeting.to_owned());
    thread::spawn(move || run(Job::Exchange, &layout, &greeting, |_| (), || ()))
}

fn error(process: Meets) -> ClusterError {
    process.join().expect("no panic").expect_err("it does not come to work")
}

/// Does not wait long for those who do not come.
fn hasty(process: usize, hosts: &[String]) -> Layout {
    Layout { connect_within: Duration::from_millis(500), ..layout(process, hosts) }
}

#[test]
fn who_is_missing_is_named() {
    let hosts = hosts(3);
    let both = [start(&hasty(0, &hosts), ""), start(&hasty(1, &hosts), "")];
    for process in both {
        let error = error(process).to_string();
        assert!(error.contains(&format!("process 2 ({}) did not appear within 500ms", hosts[2])), "{error}");
    }
    let alone = error(start(&hasty(2, &hosts), "")).to_string();
    let expected =
        format!("process 0 ({}) and process 1 ({}) did not appear within 500ms: nobody listens", hosts[0], hosts[1]);
    assert!(alone.starts_with(&expected), "{alone}");
}

#[test]
fn another_pipeline_is_refused_on_both_sides() {
    let hosts = hosts(3);
    let (first, second) = (start(&layout(0, &hosts), "fish"), start(&layout(1, &hosts), "fowl"));
    let expected = "process 1 has the pipeline fowl, process 0 has fish; all must be started alike";
    let (first, second) = (error(first), error(second));
    assert!(matches!(&first, ClusterError::Unfit { peer, why } if peer.process == 1 && why == expected), "{first}");
    assert!(matches!(&second, ClusterError::Unfit { peer, why } if peer.process == 0 && why == expected), "{second}");
}

#[test]
fn all_hear_why_the_others_give_up() {
    let hosts = hosts(3);
    let greetings = [(2, "fish"), (0, "fish"), (1, "fowl")];
    for process in greetings.map(|(process, greeting)| start(&layout(process, &hosts), greeting)) {
        let error = error(process).to_string();
        assert!(error.contains("has the pipeline fowl") || error.contains("has the pipeline fish"), "{error}");
    }
}

#[test]
fn other_numbers_are_refused_on_both_sides() {
    let hosts = hosts(2);
    let one_worker = Layout { workers: 1, ..layout(1, &hosts) };
    for process in [start(&layout(0, &hosts), ""), start(&one_worker, "")] {
        let error = error(process).to_string();
        assert!(error.contains("process 1 has a number of workers of 1, process 0 has 2"), "{error}");
    }
    let three: Vec<String> = hosts.iter().cloned().chain(self::hosts(1)).collect();
    for process in [start(&layout(0, &hosts), ""), start(&layout(1, &three), "")] {
        let error = error(process).to_string();
        assert!(error.contains("process 1 has a number of processes of 3, process 0 has 2"), "{error}");
    }
}

#[test]
fn two_processes_with_one_index_are_found() {
    let (hosts, elsewhere) = (hosts(3), hosts(3));
    let same_index = [hosts[0].clone(), elsewhere[1].clone(), hosts[2].clone()];
    let all = [start(&layout(0, &hosts), ""), start(&layout(1, &hosts), ""), start(&layout(1, &same_index), "")];
    for process in all {
        let error = error(process).to_string();
        assert!(error.contains("two processes were started as process 1"), "{error}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let hosts = hosts(2);
    let _taken = TcpListener::bind(&hosts[1]).unwrap();
    let error = error(start(&layout(1, &hosts), ""));
    assert!(matches!(&error, ClusterError::Listen { process: 1, address, .. } if *address == hosts[1]), "{error}");
}

#[test]
fn lists_in_another_order_are_found() {
    let hosts = hosts(3);
    let swapped = [hosts[1].clone(), hosts[0].clone(), hosts[2].clone()];
    let (_first, second) = (start(&hasty(0, &hosts), ""), start(&layout(1, &hosts), ""));
    let third = error(start(&layout(2, &swapped), "")).to_string();
    assert!(third.contains("their lists of hosts differ"), "{third}");
    assert!(second.join().expect("no panic").is_err());
}

#[test]
fn who_answers_something_else_is_not_taken_for_a_process() {
    let hosts = hosts(2);
    let web = TcpListener::bind(&hosts[0]).unwrap();
    let server = thread::spawn(move || {
        let (mut caller, _) = web.accept().unwrap();
        caller.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = caller.read(&mut [0; 100]);
        // And nobody is there from now on.
    });
    let error =
        error(start(&Layout { connect_within: Duration::from_millis(50), ..layout(1, &hosts) }, "")).to_string();
    assert!(error.contains("did not appear within 50ms: what answers there is not inflight"), "{error}");
    server.join().unwrap();
}

#[test]
fn strangers_do_not_disturb() {
    let hosts = hosts(2);
    let first = start(&layout(0, &hosts), "");
    let call = || loop {
        match TcpStream::connect(&hosts[0]) {
            Ok(stream) => break stream,
            Err(_) => thread::yield_now(),
        }
    };
    let silent: Vec<TcpStream> = (0..20).map(|_| call()).collect();
    let mut slow = call();
    slow.write_all(b"infl").unwrap();
    let mut huge = call();
    huge.write_all(b"inflight\x00\x01\xff\xff\xff\xff").unwrap();
    let mut garbage = call();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(garbage.read(&mut [0; 1]), Ok(0) | Err(_)), "it is hung up on");
    drop(call());
    let mut nonsense = call();
    nonsense.write_all(b"inflight\x00\x01\x00\x00\x00\x03\xff\xfe\xfd").unwrap();

    let second = start(&layout(1, &hosts), "");
    assert!(second.join().expect("no panic").is_ok());
    assert!(first.join().expect("no panic").is_ok());
    drop(silent);
}

#[test]
fn silent_strangers_are_hung_up_on() {
    let hosts = hosts(2);
    let first = start(&layout(0, &hosts), "");
    let mut slow = loop {
        match TcpStream::connect(&hosts[0]) {
            Ok(stream) => break stream,
            Err(_) => thread::yield_now(),
        }
    };
    slow.write_all(b"inflight").unwrap();
    // Returns when the other side hangs up: a second process has not come yet.
    assert!(matches!(slow.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(!first.is_finished(), "it still waits for the second");
    assert!(start(&layout(1, &hosts), "").join().expect("no panic").is_ok());
    assert!(first.join().expect("no panic").is_ok());
}

#[test]
fn another_version_is_refused() {
    let hosts = hosts(2);
    let first = start(&layout(0, &hosts), "");
    let mut newer = loop {
        match TcpStream::connect(&hosts[0]) {
            Ok(stream) => break stream,
            Err(_) => thread::yield_now(),
        }
    };
    newer.write_all(b"inflight\x00\x63\x00\x00\x00\x00").unwrap();
    let mut answer = [0; 10];
    newer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"inflight\x00\x01");
    let error = error(first).to_string();
    assert!(error.contains("cluster protocol 99, this one 1"), "{error}");
}

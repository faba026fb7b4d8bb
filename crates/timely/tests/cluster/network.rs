//! The network between two machines is cut: two network namespaces, joined by a pair of virtual cables.

use std::process::{Command, Stdio};
use std::time::Duration;

use inflight_timely::cluster::Layout;

use crate::jobs::Job;
use crate::process::{Process, program};

/// Two machines; gone when dropped.
struct Machines {
    names: [String; 2],
    cables: [String; 2],
}

impl Machines {
    /// `None` if this system or this user cannot have any.
    fn new(job: Job) -> Option<Self> {
        let id = std::process::id();
        let mark = if job == Job::Busy { 'b' } else { 'i' };
        let machines = Self {
            names: [0, 1].map(|machine| format!("inflight-{id}-{mark}{machine}")),
            cables: [0, 1].map(|machine| format!("if{id}{mark}{machine}")),
        };
        let ([one, two], [left, right]) = (&machines.names, &machines.cables);
        let possible = ip(&["netns", "add", one])
            && ip(&["netns", "add", two])
            && ip(&["link", "add", left, "netns", one, "type", "veth", "peer", "name", right, "netns", two]);
        for (machine, cable) in [left, right].into_iter().enumerate() {
            let name = &machines.names[machine];
            let up = ip(&["-n", name, "addr", "add", &format!("{}/24", address(machine)), "dev", cable])
                && ip(&["-n", name, "link", "set", cable, "up"])
                && ip(&["-n", name, "link", "set", "lo", "up"]);
            if !(possible && up) {
                return None;
            }
        }
        Some(machines)
    }

    fn start(&self, machine: usize, job: Job) -> Process {
        let hosts = [0, 1].map(|machine| format!("{}:7100", address(machine))).to_vec();
        let silent_after = Duration::from_secs(1);
        let layout = Layout { workers: 2, process: machine, hosts, silent_after, ..Layout::default() };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[machine]]).arg(program());
        Process::start_with(command, job, &layout)
    }

    fn cut(&self) {
        assert!(ip(&["-n", &self.names[0], "link", "set", &self.cables[0], "down"]), "the cable is cut");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
    }
}

fn address(machine: usize) -> String {
    format!("10.91.7.{}", machine + 1)
}

fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn cut_while(job: Job) {
    let Some(machines) = Machines::new(job) else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "namespaces are needed here: root, and iproute2");
        eprintln!("SKIPPED: no network namespaces; root and the program `ip` are needed");
        return;
    };
    let processes = [0, 1].map(|machine| machines.start(machine, job));
    processes.iter().for_each(Process::wait_until_running);
    machines.cut();
    for (process, other) in processes.into_iter().zip([1, 0]) {
        process.end().says(&format!("lost process {other} ({}:7100): nothing was heard of it for 1s", address(other)));
    }
}

#[test]
fn the_network_is_cut_while_all_are_idle() {
    cut_while(Job::Idle);
}

#[test]
fn the_network_is_cut_while_all_are_busy() {
    cut_while(Job::Busy);
}

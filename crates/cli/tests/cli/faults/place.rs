//! Where faults happen: a server behind a proxy, and a pipeline that asks it.

use super::flow::{DEAD_LETTERS, Flow, OUTPUT};
use super::pace::Pace;
use super::proxy::Proxy;
use super::story::Story;
use crate::workspace::Workspace;

/// What lets the program in at each server; nobody may ever see it.
pub(super) const PASSWORD: &str = "Sesame-open-7719";
/// How long an attempt may take.
pub(super) const TIMEOUT_MS: u64 = 300;

/// How long a record may take: longer than a slow machine needs for all that a step holds.
const DEADLINE_S: u64 = 10;

pub(super) struct Place {
    pub(super) proxy: Proxy,
    pub(super) workspace: Workspace,
    /// What the pipeline knows as `URL`, with the password in it.
    pub(super) url: String,
    pub(super) pace: Pace,
}

impl Place {
    /// The pipeline asks this, with these keys in its step, and has these at the end.
    pub(super) fn new(proxy: Proxy, url: String, asks: &str, keys: &str, more: &str) -> Self {
        let workspace = Workspace::with(&format!(
            "source: stdin\nenrich:\n  user:\n    {asks}\n    key: {{ id: .id }}\n    batch: 1\n    \
             timeout: {TIMEOUT_MS}ms\n    deadline: {DEADLINE_S}s\n{keys}sink: {{ file: {{ path: {OUTPUT} }} }}\n{more}"
        ));
        Self { proxy, workspace, url, pace: Pace::read() }
    }

    /// The same, where what fails goes to the dead letters.
    pub(super) fn usual(proxy: Proxy, url: String, asks: &str) -> Self {
        Self::new(proxy, url, asks, DEAD_LETTERING, &dead_letters())
    }

    pub(super) fn start(&self) -> Flow {
        self.start_with(&[])
    }

    pub(super) fn start_with(&self, args: &[&str]) -> Flow {
        Flow::start(&self.workspace, args, &[("URL", &self.url)], self.pace)
    }

    /// A flow with a fault in its middle. It ends, and all is as if there had been none.
    pub(super) fn outlives(&self, fault: &str, begins: impl FnOnce(), ends: impl FnOnce()) -> Story {
        let mut flow = self.start();
        flow.wait_until_out(1);
        flow.go_on(self.pace.before);
        flow.fault_begins();
        begins();
        flow.go_on(self.pace.fault);
        ends();
        flow.fault_ends();
        flow.go_on(self.pace.after);
        self.ended_well(flow, fault)
    }

    pub(super) fn ended_well(&self, flow: Flow, fault: &str) -> Story {
        let story = flow.end();
        let calls = self.proxy.calls();
        story.tell(fault, &self.workspace, &calls);
        story.each_record_is_enriched_once(&self.workspace);
        story.calls_are_few(&calls);
        story.memory_is_bounded();
        self.secrets_are_nowhere(&story);
        story
    }

    pub(super) fn secrets_are_nowhere(&self, story: &Story) {
        story.secrets_are_nowhere(&self.workspace, &[PASSWORD]);
        let explained = self.workspace.run_with(&["explain", "p.yaml"], &[("URL", &self.url)]);
        assert!(!format!("{explained:?}").contains(PASSWORD), "{explained:?}");
    }
}

/// A key of a step.
pub(super) const DEAD_LETTERING: &str = "    on_error: dead_letter\n";

/// A key of a pipeline.
pub(super) fn dead_letters() -> String {
    format!("dead_letter: {{ file: {{ path: {DEAD_LETTERS} }} }}\n")
}

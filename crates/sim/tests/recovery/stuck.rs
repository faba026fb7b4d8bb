//! An epoch waits for no call: with every slot stuck for a minute, checkpoints are completed as they are due.

use std::time::Duration;

use inflight::Order;
use inflight_sim::recovery::{Laboratory, Scenario, Service, Step, Trial};

const MINUTE: Duration = Duration::from_secs(60);

fn stuck(order: Order) -> Scenario {
    let service = Service { takes: Duration::ZERO, slow: 0, slow_takes: Duration::ZERO, fails: 0, hangs: 1 };
    let step = Step {
        order,
        keys: order.is_keyed().then_some(3),
        capacity: 2,
        concurrency: 2,
        batch: 1,
        linger: Duration::ZERO,
        timeout: Some(MINUTE),
        deadline: None,
        retry: None,
        service,
    };
    Scenario {
        seed: 7,
        partitions: vec![4, 4],
        stages: vec![vec![step]],
        batched: false,
        ordered: true,
        credits: 100,
        every: Duration::from_secs(1),
        writer: Some(64),
        alone: false,
        journal: false,
    }
}

#[test]
fn checkpoints_are_complete_while_all_slots_are_stuck() {
    let mut laboratory = Laboratory::new();
    for order in [Order::Ordered, Order::Unordered, Order::KeyOrdered, Order::KeySerial] {
        // That no time passes until a checkpoint is complete is a rule of its own.
        let report =
            laboratory.run_scenario(stuck(order), Trial::new(7)).unwrap_or_else(|violation| panic!("{violation:?}"));
        assert!(report.epochs >= 59, "{order:?}: {report:?}");
        let crash = Some(report.events / 2);
        let report = laboratory.run_scenario(stuck(order), Trial { crash, ..Trial::new(7) });
        let report = report.unwrap_or_else(|violation| panic!("{violation:?}"));
        assert!(report.restored > 0, "{order:?}: {report:?}");
    }
}

//! Event time travels in band, in both rules, and holds timely's time back as records do.

use inflight::{Abandoned, Completed, Element, Options, Order, Timestamp};
use inflight_timely::elements;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::vec::UnorderedInput;

use crate::clients::{Desk, by_timer, scrambled};
use crate::{collected, on_a_worker, outcomes, runtime, settle};

const ELEMENTS: u64 = 2_000;

type Out = Vec<Element<Completed<u64, u64, Abandoned>>>;

/// Records, numbered by their places, that are up to 30 out of order; among every 20 elements a watermark that leaves some of them
/// late; now and then an idle status.
fn disordered() -> Vec<Element<u64>> {
    let element = |place: u64| match place % 100 {
        57 => Element::Idle,
        19 | 39 | 59 | 79 | 99 => Element::Watermark(Timestamp(place as i64 - 20)),
        _ => Element::at(place as i64 - (scrambled(place) % 30) as i64, place),
    };
    (0..ELEMENTS).map(element).collect()
}

fn run(order: Order, options: Options<u64, u64, Abandoned>) -> Out {
    let runtime = runtime();
    let batches = disordered().chunks(37).map(<[_]>::to_vec).collect();
    outcomes(batches, |stream: StreamVec<'_, u64, Element<u64>>| {
        elements(stream).wait(runtime.handle(), order, Some(Box::new(|number| number % 11)), by_timer, options)
    })
}

/// Watermarks and idle statuses leave in order, with nothing of what they cover behind them. Whether they were fences, too: nothing
/// that came later left before them.
fn check(out: &Out) -> bool {
    let input = disordered();
    let mut controls = (0..).zip(&input).filter(|(_, element)| !matches!(element, Element::Record { .. }));
    let mut passed = Vec::new();
    let mut records = Vec::new();
    let mut fences = true;
    for element in out {
        let Element::Record { value, timestamp } = element else {
            let (place, expected) = controls.next().expect("no more than came");
            assert_eq!(element.clone().map(|_| 0), *expected);
            fences &= records.iter().all(|record| *record < place);
            passed.push((place, *expected));
            continue;
        };
        assert_eq!(value.timestamp, *timestamp);
        for (place, control) in &passed {
            let covered = !matches!(control, Element::Watermark(at) if *timestamp > Some(*at));
            assert!(value.input > *place || !covered, "{control:?} overtook a record at {timestamp:?}");
        }
        records.push(value.input);
    }
    assert_eq!(controls.next(), None, "all have left");
    records.sort_unstable();
    let came = input
        .iter()
        .filter_map(|element| if let Element::Record { value, .. } = element { Some(*value) } else { None });
    assert!(came.eq(records), "each record once");
    fences
}

#[test]
fn under_the_frontier_rule_watermarks_wait_for_what_they_cover() {
    for order in Order::ALL {
        let fences = check(&run(order, Options::new().capacity(300)));
        assert_eq!(fences, order == Order::Ordered, "{order:?}: only order keeps later records back");
    }
}

#[test]
fn under_the_strict_rule_watermarks_are_fences() {
    for order in Order::ALL {
        assert!(check(&run(order, Options::new().capacity(300).strict())), "{order:?}");
    }
}

/// A record at time 5 is on the wire, and then `controls` come, each at an earlier time: `held` is the earliest that is still open.
fn times_are_held(controls: &[(u64, Element<u64>)], held: u64, left: &[Element<()>]) {
    let runtime = runtime();
    let desk = Desk::default();
    let client = desk.clone();
    on_a_worker(move |worker| {
        let ask = move |number| {
            let client = client.clone();
            async move { client.ask(number).await }
        };
        let (mut input, start, probe, out) = worker.dataflow::<u64, _, _>(|scope| {
            let ((input, start), stream) = scope.new_unordered_input();
            let waited = elements(stream).wait(runtime.handle(), Order::Unordered, None, ask, Options::new());
            let (probe, results) = waited.results.probe();
            (input, start, probe, collected(results))
        });
        let mut send = |at: u64, element| {
            input.activate().session(&start.delayed(&at)).give(element);
        };
        send(5, Element::at(10, 1));
        settle(worker);
        for (at, control) in controls {
            send(*at, *control);
            settle(worker);
        }
        drop((input, start));
        settle(worker);
        assert!(probe.less_equal(&held) && !probe.less_than(&held), "time {held} is held");
        assert!(out.borrow().is_empty());
        desk.answer(1);
        settle(worker);
        assert!(probe.done());
        let controls = out.borrow().iter().skip(1).map(|element| element.clone().map(|_| ())).collect::<Vec<_>>();
        assert_eq!(controls, left);
    });
}

#[test]
fn a_watermark_holds_its_time() {
    times_are_held(&[(3, Element::Watermark(Timestamp(10)))], 3, &[Element::Watermark(Timestamp(10))]);
}

#[test]
fn an_idle_status_holds_its_time() {
    times_are_held(&[(2, Element::Idle)], 2, &[Element::Idle]);
}

#[test]
fn a_watermark_that_tells_nothing_new_holds_nothing() {
    let news = Element::Watermark(Timestamp(10));
    let old = Element::Watermark(Timestamp(9));
    times_are_held(&[(4, news), (2, old), (3, news)], 4, &[Element::Watermark(Timestamp(10))]);
}

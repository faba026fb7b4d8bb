//! Event time travels in band, in both rules, and holds timely's time back as records do.

use inflight::{Abandoned, Completed, Element, Options, Order, Timestamp};
use inflight_timely::{Waited, elements};
use timely::dataflow::StreamVec;
use timely::dataflow::operators::{Capture, Input, Inspect, Probe, UnorderedInput, capture::Extract};

use crate::clients::{Desk, by_timer, scrambled};
use crate::{finish, outcomes, runtime, settle};

const ELEMENTS: u64 = 2_000;

/// Records that are up to 30 out of order; every 20 elements a watermark that leaves some of them late; now and then an idle status.
fn disordered() -> Vec<Element<u64>> {
    let element = |at: u64| match at % 100 {
        57 => Element::Idle,
        19 | 39 | 59 | 79 | 99 => Element::Watermark(Timestamp(at as i64 - 20)),
        _ => Element::at(at as i64 - (scrambled(at) % 30) as i64, at),
    };
    (0..ELEMENTS).map(element).collect()
}

type Out = Vec<Element<Completed<u64, u64, Abandoned>>>;

fn run(order: Order, options: Options<u64, u64, Abandoned>) -> Out {
    let runtime = runtime();
    let batches = disordered().chunks(37).map(<[_]>::to_vec).collect();
    outcomes(batches, |stream: StreamVec<'_, u64, Element<u64>>| {
        elements(stream).wait(runtime.handle(), order, Some(Box::new(|number| number % 11)), by_timer, options)
    })
}

/// What stood between records comes out again in order, and none of what it covers after it.
fn check(input: &[Element<u64>], out: &Out) {
    let number = |element: &Element<Completed<u64, u64, Abandoned>>| match element {
        Element::Record { value, timestamp } => {
            assert_eq!(value.timestamp, *timestamp);
            Some(value.input)
        }
        _ => None,
    };
    let controls = |element: &Element<_>| element.map(|_| ());
    let is_control = |element: &Element<()>| !matches!(element, Element::Record { .. });
    let (came, left): (Vec<_>, Vec<_>) = (
        input.iter().map(|e| e.map(|_| ())).filter(is_control).collect(),
        out.iter().map(|e| e.clone().map(|_| ())).filter(is_control).collect(),
    );
    let _ = controls as fn(&Element<u64>) -> Element<()>;
    assert_eq!(came, left, "watermarks and idle statuses leave in order, each once");
    let left_at = |number: u64| out.iter().position(|e| matches!(e, Element::Record { value, .. } if value.input == number));
    let mut fence = 0;
    for (place, element) in out.iter().enumerate().filter(|(_, element)| number(element).is_none()) {
        let came_at = fence + input[fence..].iter().position(|e| !matches!(e, Element::Record { .. })).expect("as many");
        for before in &input[..came_at] {
            let Element::Record { value, timestamp: Some(at) } = before else { continue };
            let covered = match element {
                Element::Watermark(mark) => at <= mark,
                _ => true,
            };
            assert!(!covered || left_at(*value).expect("it left") < place, "{element:?} has overtaken {value}");
        }
        fence = came_at + 1;
    }
}

//! Watermarks and idle statuses, in both rules.

use futures_util::{StreamExt, stream};
use inflight::{AsyncStreamExt, Element, Failure, Options, Order, Timestamp, elements};

use crate::service::{ms, scatter, wait};

type Output = Element<Result<u64, Failure<u64, ()>>>;

/// A call for `n` takes `n` ms.
async fn in_its_time(n: u64) -> Result<u64, ()> {
    tokio::time::sleep(ms(n)).await;
    Ok(n)
}

const fn watermark<T>(at: i64) -> Element<T> {
    Element::Watermark(Timestamp(at))
}

fn ok(timestamp: i64, n: u64) -> Output {
    Element::at(timestamp, Ok(n))
}

async fn output(order: Order, input: &[Element<u64>], strict: bool) -> Vec<Output> {
    let options = if strict { Options::new().strict() } else { Options::new() };
    wait(order, elements(stream::iter(input.to_vec())), in_its_time, options).collect().await
}

// S14, S17, S18: in both rules; adjacent watermarks both leave, and each result has the timestamp of its record.
#[tokio::test(start_paused = true)]
async fn in_order_everything_keeps_its_place() {
    let input = [Element::at(1, 30), watermark(1), watermark(2), Element::at(3, 10), Element::Idle, Element::at(4, 5)];
    for strict in [false, true] {
        let expected = [ok(1, 30), watermark(1), watermark(2), ok(3, 10), Element::Idle, ok(4, 5)];
        assert_eq!(output(Order::Ordered, &input, strict).await, expected);
    }
}

// S15: with the strict rule nothing passes a watermark.
#[tokio::test(start_paused = true)]
async fn a_strict_watermark_is_a_fence() {
    let input = [Element::at(1, 30), Element::at(1, 10), watermark(1), Element::at(5, 2), Element::at(5, 1)];
    let expected = [ok(1, 10), ok(1, 30), watermark(1), ok(5, 1), ok(5, 2)];
    assert_eq!(output(Order::Unordered, &input, true).await, expected);
}

#[tokio::test(start_paused = true)]
async fn with_the_frontier_rule_later_records_pass_a_watermark_and_it_waits_only_for_earlier_ones() {
    let input = [Element::at(1, 30), Element::at(9, 50), watermark(1), Element::at(5, 10)];
    let expected = [ok(5, 10), ok(1, 30), watermark(1), ok(9, 50)];
    assert_eq!(output(Order::Unordered, &input, false).await, expected);
}

// B28, S19: an idle status waits for what came before it, in both rules and all orders.
#[tokio::test(start_paused = true)]
async fn an_idle_status_does_not_overtake_records() {
    for order in Order::ALL {
        for strict in [false, true] {
            let input = [Element::at(1, 40), Element::at(2, 20), Element::Idle, Element::at(3, 1), watermark(3)];
            let output = output(order, &input, strict).await;
            let idle = output.iter().position(|element| *element == Element::Idle).unwrap();
            assert_eq!(idle, 2, "{order:?}, strict: {strict}: {output:?}");
            assert_eq!(output[3..], [ok(3, 1), watermark(3)]);
        }
    }
}

// B23: the last watermark leaves, also when nothing follows it.
#[tokio::test(start_paused = true)]
async fn the_last_watermark_leaves() {
    for order in Order::ALL {
        for strict in [false, true] {
            let input = [Element::at(1, 10), watermark(i64::MAX)];
            assert_eq!(output(order, &input, strict).await, [ok(1, 10), watermark(i64::MAX)]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn watermarks_pass_at_once_when_nothing_is_held() {
    for order in Order::ALL {
        let input = stream::iter([watermark(1), Element::Idle, watermark(2)]).chain(stream::pending());
        let mut results = wait(order, elements(input), in_its_time, Options::new());
        for expected in [watermark(1), Element::Idle, watermark(2)] {
            assert_eq!(results.next().await, Some(expected), "{order:?}");
        }
    }
}

// S18: a record without a timestamp has none afterwards, and keeps its place among the watermarks.
#[tokio::test(start_paused = true)]
async fn a_record_without_a_timestamp_stays_without_one() {
    let timeless = |value| Element::Record { value, timestamp: None };
    let input = [timeless(20), watermark(1), timeless(5)];
    for strict in [false, true] {
        let expected = [
            Element::Record { value: Ok(20), timestamp: None },
            watermark(1),
            Element::Record { value: Ok(5), timestamp: None },
        ];
        assert_eq!(output(Order::Unordered, &input, strict).await, expected);
    }
}

/// Random records with watermarks between them that lag 20 behind, and now and then an idle status.
fn random_input(seed: u64) -> Vec<Element<u64>> {
    let mut input = Vec::new();
    for n in 0..400 {
        let random = scatter(seed * 1_000 + n);
        input.push(Element::at((n + random % 40) as i64, random % 60));
        if random.is_multiple_of(7) {
            input.push(watermark(n as i64 - 20));
        }
        if random.is_multiple_of(31) {
            input.push(Element::Idle);
        }
    }
    input
}

/// The records at or before the watermark that stands before them.
fn late<T>(elements: &[Element<T>]) -> usize {
    let mut watermark = i64::MIN;
    let mut late = 0;
    for element in elements {
        match element {
            Element::Watermark(at) => watermark = at.0,
            Element::Record { timestamp, .. } => late += usize::from(timestamp.is_some_and(|at| at.0 <= watermark)),
            Element::Idle => {}
        }
    }
    late
}

fn controls<T>(elements: &[Element<T>]) -> Vec<Element<()>> {
    let control = |element: &Element<T>| match element {
        Element::Watermark(at) => Some(Element::Watermark(*at)),
        Element::Idle => Some(Element::Idle),
        Element::Record { .. } => None,
    };
    elements.iter().filter_map(control).collect()
}

#[tokio::test(start_paused = true)]
async fn no_record_becomes_late_and_no_watermark_is_lost() {
    for seed in 0..5 {
        let input = random_input(seed);
        for order in Order::ALL {
            for strict in [false, true] {
                let output = output(order, &input, strict).await;
                assert_eq!(output.len(), kept(&input), "{order:?}, strict: {strict}");
                assert_eq!(late(&output), late(&input), "{order:?}, strict: {strict}");
                assert!(controls(&output).windows(2).all(|pair| advances(&pair[0], &pair[1])), "{order:?}");
            }
        }
    }
}

/// How many elements tell something: watermarks that do not advance are dropped.
fn kept(input: &[Element<u64>]) -> usize {
    let mut last = i64::MIN;
    let tells = |element: &&Element<u64>| match element {
        Element::Watermark(at) => {
            let advances = at.0 > last;
            last = last.max(at.0);
            advances
        }
        _ => true,
    };
    input.iter().filter(tells).count()
}

fn advances(one: &Element<()>, next: &Element<()>) -> bool {
    match (one, next) {
        (Element::Watermark(one), Element::Watermark(next)) => one < next,
        _ => true,
    }
}

// S3: with the strict rule a watermark holds a unit of capacity, as in Flink; otherwise it does not.
#[tokio::test(start_paused = true)]
async fn a_strict_watermark_holds_a_unit_of_capacity() {
    for (strict, accepted) in [(true, 1), (false, 2)] {
        let input = stream::iter([Element::at(1, 1_000), watermark(1), Element::at(2, 1_000)]).chain(stream::pending());
        let options = Options::new().capacity(2);
        let options = if strict { options.strict() } else { options };
        let mut results = elements(input).unordered_wait(in_its_time, options);
        tokio::time::timeout(ms(10), results.next()).await.expect_err("nothing is ready");
        assert_eq!(results.stats().accepted, accepted, "strict: {strict}");
    }
}

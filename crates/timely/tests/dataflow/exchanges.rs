//! Event time over an exchange: the least watermark of all workers counts, whoever is ahead, idle or at its end.

use std::sync::{Arc, Mutex};

use inflight::{Abandoned, Completed, Element, Options, Order, Timestamp};
use inflight_timely::{elements, exchange_elements};
use timely::CommunicationConfig;
use timely::WorkerConfig;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{InputHandle, StreamVec};

use crate::clients::{Crowd, by_timer, scrambled};
use crate::{finish, runtime};

/// What left on each worker, in order.
type Outputs<D> = Vec<Vec<D>>;

/// What a worker sends, and at which times.
type Script = Vec<(u64, Element<u64>)>;

const fn mark(at: i64) -> Element<u64> {
    Element::Watermark(Timestamp(at))
}

const END: Element<u64> = mark(i64::MAX);

/// Runs a script on each worker, by threads that exchange bytes as processes do; `behind` is what follows the exchange.
fn exchanged<D: Clone + Send + 'static>(
    scripts: &[Script],
    route: fn(&u64) -> u64,
    behind: impl for<'s> Fn(StreamVec<'s, u64, Element<u64>>) -> StreamVec<'s, u64, D> + Send + Sync + 'static,
) -> Outputs<D> {
    let outputs = Arc::new(Mutex::new(vec![Vec::new(); scripts.len()]));
    let (kept, scripts) = (Arc::clone(&outputs), scripts.to_vec());
    let communication = CommunicationConfig::ProcessBinary(scripts.len());
    let config = timely::Config { communication, worker: WorkerConfig::default() };
    let guards = timely::execute(config, move |worker| {
        let here = worker.index();
        let mut input = InputHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let received = behind(exchange_elements(scope.input_from(&mut input), route));
            let kept = Arc::clone(&kept);
            keep(received, move |mut batch| {
                kept.lock().expect("no worker panics while it keeps something")[here].append(&mut batch);
            });
        });
        for (place, (time, element)) in (0..).zip(&scripts[here]) {
            if input.time() < time {
                input.advance_to(*time);
            }
            input.send(*element);
            if scrambled(place + here as u64).is_multiple_of(5) {
                input.flush();
                worker.step();
            }
        }
        input.close();
        finish(worker);
    })
    .expect("threads");
    for guard in guards.join() {
        guard.expect("no worker panics");
    }
    let outputs = Arc::into_inner(outputs).expect("all workers have ended");
    outputs.into_inner().expect("no worker panics")
}

/// Takes batches as they come: timely's own operators may mix up those of equal times.
fn keep<D: Clone + 'static>(stream: StreamVec<'_, u64, D>, mut into: impl FnMut(Vec<D>) + 'static) {
    let mut builder = OperatorBuilder::new("Keep".into(), stream.scope());
    let mut input = builder.new_input(stream, Pipeline);
    builder.build(move |_| move |_| input.for_each(|_, batch| into(std::mem::take(batch))));
}

/// Whoever speaks, speaks at a time of its own: so it is certain in which order all of it is heard.
fn in_turn(workers: usize, turns: &[(usize, Vec<Element<u64>>)]) -> Vec<Script> {
    let mut scripts = vec![Script::new(); workers];
    for (time, (speaker, said)) in (0..).zip(turns) {
        scripts[*speaker].extend(said.iter().map(|element| (time, *element)));
    }
    scripts
}

fn told(workers: usize, turns: &[(usize, Vec<Element<u64>>)]) -> Outputs<Element<u64>> {
    exchanged(&in_turn(workers, turns), |number| *number, |stream| stream)
}

#[test]
fn the_least_watermark_counts_on_every_worker() {
    let turns = [
        (0, vec![Element::at(3, 7), mark(90)]),
        (1, vec![Element::at(5, 8), mark(10)]),
        (1, vec![mark(40), Element::at(50, 9)]),
        (1, vec![mark(95)]),
    ];
    let [first, second] = &told(2, &turns)[..] else { panic!("two workers") };
    assert_eq!(*first, [Element::at(5, 8), mark(10), mark(40), mark(90)]);
    assert_eq!(*second, [Element::at(3, 7), mark(10), mark(40), Element::at(50, 9), mark(90)]);
}

#[test]
fn an_idle_worker_is_not_waited_for_until_it_has_something_again() {
    let turns = [
        (0, vec![mark(10)]),
        (1, vec![Element::Idle]),
        (0, vec![mark(20)]),
        // For worker 1 alone, but both hear that it is active.
        (1, vec![Element::at(15, 3)]),
        (0, vec![mark(30)]),
        (1, vec![mark(25)]),
        (0, vec![Element::Idle]),
        (1, vec![mark(60), Element::Idle]),
    ];
    let [first, second] = &told(2, &turns)[..] else { panic!("two workers") };
    assert_eq!(*first, [mark(10), mark(20), mark(25), mark(60), Element::Idle]);
    assert_eq!(*second, [mark(10), mark(20), Element::at(15, 3), mark(25), mark(60), Element::Idle]);
}

#[test]
fn a_worker_that_has_ended_is_not_waited_for() {
    let turns = [(0, vec![END]), (1, vec![mark(5)]), (1, vec![Element::Idle]), (1, vec![mark(8), END])];
    for out in told(2, &turns) {
        assert_eq!(out, [mark(5), Element::Idle, mark(8), END]);
    }
}

/// What a worker has said so far, as those who listen have it.
struct Said<'a>(&'a [Element<u64>]);

impl Said<'_> {
    fn watermark(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|element| if let Element::Watermark(at) = element { Some(*at) } else { None }).max()
    }

    fn has_ended(&self) -> bool {
        self.0.contains(&END)
    }

    fn is_idle(&self) -> bool {
        self.0.last() == Some(&Element::Idle)
    }
}

/// The same by plain means: after each element, all that everybody has said so far is looked at again.
fn model(workers: usize, turns: &[(usize, Vec<Element<u64>>)]) -> Outputs<Element<u64>> {
    let (mut outputs, mut said) = (vec![Vec::new(); workers], vec![Vec::new(); workers]);
    let (mut highest, mut idle) = (None, false);
    for (speaker, element) in
        turns.iter().flat_map(|(speaker, said)| said.iter().map(move |element| (*speaker, *element)))
    {
        said[speaker].push(element);
        let running = || said.iter().map(|said| Said(said)).filter(|said| !said.has_ended());
        let active = || running().filter(|said| !said.is_idle());
        let was_idle = std::mem::replace(&mut idle, running().next().is_some() && active().next().is_none());
        let least = match active().map(|said| said.watermark()).min() {
            Some(least) => least,
            None => running().next().is_none().then_some(Timestamp(i64::MAX)),
        };
        let tells = match least {
            _ if idle => (!was_idle).then_some(Element::Idle),
            Some(at) if highest < Some(at) => {
                highest = Some(at);
                Some(Element::Watermark(at))
            }
            _ => None,
        };
        for (worker, output) in (0..).zip(&mut outputs) {
            output.extend(tells);
            if matches!(element, Element::Record { value, .. } if value % workers as u64 == worker) {
                output.push(element);
            }
        }
    }
    outputs
}

/// Now this worker says something, now that one: records, watermarks that go forth and back, idle statuses, and now and then the end.
fn random_turns(seed: u64, workers: u64) -> Vec<(usize, Vec<Element<u64>>)> {
    let mut draws = (0..).map(|place| scrambled(seed << 32 | place));
    let mut draw = |below: u64| draws.next().unwrap_or_default() % below;
    let element = |time: u64, draw: &mut dyn FnMut(u64) -> u64| match draw(20) {
        0..3 => Element::Idle,
        3..9 => mark((time + draw(30)) as i64 - 20),
        9 if draw(8) == 0 => END,
        _ => Element::at((time + draw(30)) as i64 - 15, draw(1_000_000)),
    };
    let turns = 10 + draw(60);
    let turn = |time| (draw(workers) as usize, (0..draw(6)).map(|_| element(time * 3, &mut draw)).collect());
    (0..turns).map(turn).collect()
}

#[test]
fn what_is_heard_is_what_a_plain_model_says() {
    for seed in 0..60 {
        let workers = 1 + seed % 4;
        let turns = random_turns(seed, workers);
        let (heard, expected) = (told(workers as usize, &turns), model(workers as usize, &turns));
        assert_eq!(heard, expected, "seed {seed}: {turns:?}");
    }
}

/// Numbers of a worker start at a million times its own; watermarks are as true as a bounded disorder makes them; each worker is at
/// its own pace in event time and in timely's.
fn stream_of(worker: u64) -> Script {
    let element = |place: u64| {
        let time = (place * (worker + 1)) as i64;
        match place % 10 {
            9 => mark(time - 20),
            _ => Element::at(time - (scrambled(place) % 30) as i64, worker * 1_000_000 + place),
        }
    };
    let timed = |place| (place / (40 + 30 * worker), element(place));
    (0..2_000).map(timed).chain([(2_000, END)]).collect()
}

/// Records that came in time, by what was said before them.
fn in_time(elements: impl IntoIterator<Item = Element<u64>>) -> Vec<u64> {
    let mut watermark = None;
    let on_time = |element| match element {
        Element::Watermark(at) => {
            assert!(watermark < Some(at), "watermarks advance");
            watermark = Some(at);
            None
        }
        Element::Record { value, timestamp } => (timestamp > watermark).then_some(value),
        Element::Idle => panic!("nobody is idle"),
    };
    let mut on_time = Vec::from_iter(elements.into_iter().filter_map(on_time));
    on_time.sort_unstable();
    on_time
}

#[test]
fn whoever_is_ahead_makes_no_record_of_another_late() {
    const WORKERS: u64 = 3;
    let scripts = Vec::from_iter((0..WORKERS).map(stream_of));
    let outputs = exchanged(&scripts, |number| scrambled(*number), |stream| stream);
    let punctual =
        Vec::from_iter(scripts.iter().flat_map(|script| in_time(script.iter().map(|(_, element)| *element))));
    let still = Vec::from_iter(outputs.iter().flat_map(|out| in_time(out.iter().copied())));
    assert!(punctual.len() > 4_000);
    assert!(punctual.iter().all(|number| still.contains(number)));

    let mut came = 0;
    for (worker, out) in (0..).zip(&outputs) {
        assert_eq!(out.last(), Some(&END));
        let value =
            |element: &Element<u64>| if let Element::Record { value, .. } = element { Some(*value) } else { None };
        let values = Vec::from_iter(out.iter().filter_map(value));
        assert!(values.iter().all(|number| scrambled(*number) % WORKERS == worker));
        let of_sender = |sender| values.iter().filter(move |number| **number / 1_000_000 == sender);
        assert!((0..WORKERS).all(|sender| of_sender(sender).is_sorted()), "in the order of their sender");
        came += values.len() as u64;
    }
    assert_eq!(came, WORKERS * 1_800, "each record once");
}

#[test]
fn a_wait_by_key_holds_for_all_workers_in_event_time() {
    const KEYS: u64 = 9;
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let keys = Arc::new(Vec::from_iter((0..KEYS).map(|_| Crowd::default())));
    let crowds = Arc::clone(&keys);
    let key = |number: &u64| scrambled(*number) % KEYS;
    let scripts = Vec::from_iter((0..2).map(|worker| Vec::from_iter(stream_of(worker).into_iter().skip(1_500))));
    let outputs = exchanged(&scripts, key, move |stream| {
        let crowds = Arc::clone(&crowds);
        let call = move |number: u64| {
            let crowds = Arc::clone(&crowds);
            async move {
                crowds[key(&number) as usize].enter();
                let result: Result<_, Abandoned> = by_timer(number).await;
                crowds[key(&number) as usize].leave();
                result
            }
        };
        let options = Options::new().capacity(200);
        elements(stream).wait(&handle, Order::KeySerial, Some(Box::new(key)), call, options).results
    });
    let input = |element: Element<Completed<_, _, _>>| element.map(|completed| completed.input);
    let outputs = Vec::from_iter(outputs.into_iter().map(|out| Vec::from_iter(out.into_iter().map(input))));
    assert!(keys.iter().all(|key| key.most() == 1), "one call of a key at a time, on both workers together");
    let punctual =
        Vec::from_iter(scripts.iter().flat_map(|script| in_time(script.iter().map(|(_, element)| *element))));
    let still = Vec::from_iter(outputs.iter().flat_map(|out| in_time(out.iter().copied())));
    assert!(punctual.iter().all(|number| still.contains(number)));
    assert!(outputs.iter().all(|out| out.last() == Some(&END)));
}

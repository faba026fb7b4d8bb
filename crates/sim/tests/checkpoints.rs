//! The checkpoint store on a disk that crashes at every operation, gets full, rots, and has other runs in between.

use std::collections::BTreeMap;

use inflight_sim::{Event, Rng, SimulatedDisk};
use inflight_timely::checkpoint::{Checkpoint, Disk, Error, Journal, KEEP, Mark, Store, list, recorded};

const SEEDS: u64 = if cfg!(debug_assertions) { 500 } else { 30_000 };

/// What the folder must hold, as far as those who wrote it were told.
#[derive(Debug, Default)]
struct Known {
    /// Checkpoints that lead to now and whose `write` had returned, oldest first.
    complete: Vec<Checkpoint>,
    /// The one that was being written when the power went.
    attempted: Option<Checkpoint>,
    /// Behind each checkpoint, by run: how many entries were appended, and how many of them synced.
    journals: BTreeMap<(Option<Mark>, u64), (u8, u8)>,
    written: u64,
    /// The highest number a run has drawn.
    generation: u64,
}

impl Known {
    fn newest(&self) -> Option<Mark> {
        self.complete.last().map(Checkpoint::mark)
    }

    /// What the run after a crash finds is what was complete, or what was being written.
    fn check<D: Disk>(&mut self, store: &Store<D>) {
        let found = store.latest().expect("some checkpoint is valid");
        if let Some(attempted) = self.attempted.take()
            && found.checkpoint.as_ref() == Some(&attempted)
        {
            self.complete.push(attempted);
        }
        assert_eq!(found.checkpoint.as_ref(), self.complete.last(), "{:?}", found.damaged);
        assert_eq!(found.damaged, []);
        for checkpoint in self.complete.iter().rev().take(KEEP) {
            assert_eq!(&store.at(checkpoint.epoch).expect("it is among those that are kept"), checkpoint);
        }
        self.check_journals(store);
    }

    fn check_journals<D: Disk>(&self, store: &Store<D>) {
        let found = recorded(store.disk(), self.newest()).expect("journals can be read");
        let mut by_run: BTreeMap<u64, u8> = BTreeMap::new();
        for entry in found.entries {
            let (run, number) = (u64::from(entry[0]), entry[1]);
            let before = by_run.entry(run).or_default();
            assert_eq!(number, *before, "entries come in order, without gaps");
            *before += 1;
        }
        for ((_, run), (appended, synced)) in self.journals.iter().filter(|((mark, _), _)| *mark == self.newest()) {
            let read = by_run.remove(run).unwrap_or(0);
            assert!((*synced..=*appended).contains(&read), "run {run}: {synced} <= {read} <= {appended}");
        }
        assert_eq!(by_run, BTreeMap::new(), "entries of nobody");
    }

    /// One run: goes on from what it finds, and writes checkpoints and journals until something fails.
    fn run(&mut self, disk: &SimulatedDisk, rng: &mut Rng, epochs: u64) -> Result<(), Error> {
        let mut store = Store::open(disk.clone(), "noon")?;
        assert!(store.generation() > self.generation, "no two runs have the same number");
        self.generation = store.generation();
        let from = store.latest()?.checkpoint;
        if let Some(found) = from.as_ref().filter(|found| self.attempted.as_ref() == Some(found)) {
            self.complete.push(found.clone());
        }
        self.attempted = None;
        assert_eq!(from.as_ref(), self.complete.last());
        store.start(from.map(|found| found.mark()))?;
        self.record(disk, &store, rng)?;
        for _ in 0..epochs {
            self.written += 1;
            let checkpoint = Checkpoint {
                epoch: self.newest().map_or(0, |mark| mark.epoch) + rng.within(1, 3),
                generation: store.generation(),
                created: format!("moment {}", self.written),
                carried: (0..rng.below(100)).map(|_| rng.next() as u8).collect(),
                ..Checkpoint::default()
            };
            self.attempted = Some(checkpoint.clone());
            store.write(&checkpoint)?;
            self.attempted = None;
            self.complete.push(checkpoint);
            self.record(disk, &store, rng)?;
        }
        Ok(())
    }

    fn record(&mut self, disk: &SimulatedDisk, store: &Store<SimulatedDisk>, rng: &mut Rng) -> Result<(), Error> {
        let (follows, run) = (self.newest(), store.generation());
        let mut journal = Journal::new(disk.clone(), follows, run);
        for _ in 0..rng.below(3) {
            let (appended, synced) = self.journals.entry((follows, run)).or_default();
            for _ in 0..rng.below(3) {
                journal.append(&[run as u8, *appended, rng.next() as u8]);
                *appended += 1;
            }
            journal.sync()?;
            *synced = *appended;
        }
        Ok(())
    }
}

/// A run that is not disturbed, on the disk after the crash, and what it must find.
fn after_reboot(known: &mut Known, disk: &SimulatedDisk) -> SimulatedDisk {
    let disk = disk.reboot();
    known.check(&Store::open(disk.clone(), "one").expect("the lock went with the power"));
    disk
}

#[test]
fn nothing_complete_is_lost_by_a_crash_at_any_operation() {
    for seed in 0..if cfg!(debug_assertions) { 8 } else { 500 } {
        let mut at = 0;
        loop {
            let (mut known, mut rng, disk) = (Known::default(), Rng::new(seed), SimulatedDisk::new(seed ^ at));
            known.run(&disk, &mut rng, 4).expect("nothing happens");
            disk.plan(at, Event::Crash);
            let ended = known.run(&disk, &mut rng, 4);
            if ended.is_ok() {
                assert!(at > 50, "the operations are counted");
                break;
            }
            after_reboot(&mut known, &disk);
            at += 1;
        }
    }
}

#[test]
fn nothing_complete_is_lost_by_crash_after_crash() {
    let mut crashes = 0;
    for seed in 0..SEEDS {
        let (mut known, mut rng) = (Known::default(), Rng::new(seed));
        let mut disk = SimulatedDisk::new(rng.next());
        for _ in 0..rng.within(1, 8) {
            disk.plan(rng.below(90), Event::Crash);
            let epochs = rng.below(6);
            crashes += u64::from(known.run(&disk, &mut rng, epochs).is_err());
            // Until the run that looks gets through, even the looking is cut off.
            while rng.one_in(3) {
                disk = disk.reboot();
                disk.plan(rng.below(15), Event::Crash);
                drop(Store::open(disk.clone(), "one").and_then(|store| store.latest()));
            }
            disk = after_reboot(&mut known, &disk);
        }
    }
    assert!(crashes > SEEDS, "{crashes}");
}

#[test]
fn what_rots_is_named_and_the_one_before_is_used() {
    for seed in 0..SEEDS {
        let (mut known, mut rng, disk) = (Known::default(), Rng::new(seed), SimulatedDisk::new(seed));
        let epochs = rng.within(3, 6);
        known.run(&disk, &mut rng, epochs).expect("nothing happens");
        let rotten = rng.within(1, KEEP as u64 - 1) as usize;
        let names: Vec<_> = list(&disk).expect("it can be listed").checkpoints.into_iter().map(|c| c.name).collect();
        names[..rotten].iter().for_each(|name| disk.rot(name));
        let mut store = Store::open(disk.clone(), "one").expect("nobody has it");
        let found = store.latest().expect("one is valid");
        assert_eq!(found.damaged.iter().map(|damaged| damaged.name.clone()).collect::<Vec<_>>(), names[..rotten]);
        known.complete.truncate(known.complete.len() - rotten);
        assert_eq!(found.checkpoint.as_ref(), known.complete.last());
        known.check_journals(&store);
        store.start(known.newest()).expect("it leads to now");
        drop(store);
        known.run(&disk, &mut rng, 3).expect("nothing happens");
        after_reboot(&mut known, &disk);
        names[rotten..].iter().for_each(|name| disk.rot(name));
    }
}

#[test]
fn a_full_disk_leaves_what_was_there_and_nothing_of_its_own() {
    let mut at = 0;
    loop {
        let (mut known, mut rng, disk) = (Known::default(), Rng::new(at), SimulatedDisk::new(at));
        known.run(&disk, &mut rng, 3).expect("nothing happens");
        disk.plan(at, Event::Full);
        let ended = known.run(&disk, &mut rng, 1);
        let operations = disk.calm();
        if let Err(error) = &ended {
            assert!(error.to_string().contains("make room"), "{error}");
            let is_unfinished = |name: &String| name.ends_with(".tmp");
            assert!(!disk.names().expect("it can be listed").iter().any(is_unfinished));
        }
        known.check(&Store::open(disk.clone(), "one").expect("nobody has it"));
        known.run(&disk, &mut rng, 3).expect("there is room again");
        after_reboot(&mut known, &disk);
        if at > operations {
            assert!(ended.is_ok() && at > 20);
            break;
        }
        at += 1;
    }
}

/// Another run takes over before each operation of a run that goes on writing, on a filesystem without locks.
#[test]
fn of_two_runs_one_goes_on_and_the_other_counts_no_more() {
    for (writes, seed) in (0..3).flat_map(|writes| (0..40).map(move |seed| (writes, seed))) {
        let mut at = 0;
        while split(at, writes, seed) {
            at += 1;
        }
        assert!(at > 10);
    }
}

/// Whether the operation came at all.
fn split(at: u64, writes: u64, seed: u64) -> bool {
    let disk = SimulatedDisk::without_locks(seed ^ at);
    let epoch = |store: &Store<SimulatedDisk>, epoch| Checkpoint {
        epoch,
        generation: store.generation(),
        ..Checkpoint::default()
    };
    let mut old = Store::open(disk.clone(), "noon").expect("nobody else is there");
    old.start(None).expect("the beginning");
    old.write(&epoch(&old, 1)).expect("nothing happens");

    let (told, heard) = std::sync::mpsc::channel();
    disk.plan(
        at,
        Event::Meanwhile(Box::new(move |disk| {
            let mut new = Store::open(disk, "one").expect("there are no locks");
            let from = new.latest().expect("one is valid").checkpoint.expect("there is one").mark();
            new.start(Some(from)).expect("it leads to now");
            for later in 1..=writes {
                new.write(&epoch(&new, from.epoch + later)).expect("nobody is newer");
            }
            told.send((from, Mark { epoch: from.epoch + writes, generation: new.generation() }))
                .expect("it is awaited");
        })),
    );
    // Far beyond the epochs of the new run; twice, so that it may be between them.
    let results = [10, 20].map(|number| old.write(&epoch(&old, number)).map(|()| number));
    let Ok((from, newest)) = heard.try_recv() else { return false };
    let succeeded = results.iter().filter_map(|result| result.as_ref().ok()).max().copied();
    assert!(succeeded.unwrap_or(1) <= from.epoch, "what was told to be complete was seen");
    let fenced = |result: &Result<u64, Error>| matches!(result, Err(Error::Fenced { ours: 1, newer: 2, .. }));
    // After its last look, nobody can tell it.
    assert!(fenced(&results[1]) || succeeded == Some(20), "{results:?}");
    assert!(fenced(&old.write(&epoch(&old, 30)).map(|()| 30)), "and then it is told");

    let disk = if seed.is_multiple_of(2) { disk.reboot() } else { disk.clone() };
    let third = Store::open(disk, "two").expect("there are no locks");
    let found = third.latest().expect("one is valid").checkpoint.expect("there is one").mark();
    let expected = if writes == 0 { from } else { newest };
    assert_eq!(found, expected, "the way goes through the newer run");
    true
}

/// Two runs that begin at the same moment: a run that was overtaken before its start was written down is told so.
#[test]
fn of_two_starts_one_goes_on() {
    for at in 0..40 {
        let disk = SimulatedDisk::without_locks(at);
        let (told, heard) = std::sync::mpsc::channel();
        disk.plan(
            at,
            Event::Meanwhile(Box::new(move |disk| {
                let mut new = Store::open(disk, "one").expect("there are no locks");
                new.start(None).expect("the beginning");
                told.send(new).expect("it is awaited");
            })),
        );
        let old = Store::open(disk.clone(), "noon").and_then(|mut old| old.start(None).map(|()| old));
        let Ok(new) = heard.try_recv() else {
            assert!(at > 10 && old.is_ok());
            return;
        };
        match old {
            Ok(old) => assert!(old.generation() > new.generation(), "operation {at}"),
            Err(error) => assert!(matches!(error, Error::Fenced { .. }), "{error}"),
        }
    }
    panic!("opening takes more operations than were tried");
}

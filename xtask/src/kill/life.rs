//! One pipeline from its first record to its last, whatever is killed in between.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::compare::compare;
use super::ground::{Ground, PIPELINE, Undisturbed, told, write};
use super::moment::Moment;
use super::numbers::{Numbers, Resumed, When};
use super::output::Output;
use super::plan::{Layout, Plan};
use super::set::{End, Set};

/// How long one start may go on: far more than any takes, unless it hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// How long the others may go on when one has been killed: they wait [`CONNECT_WITHIN_S`] for one that never came.
const SURVIVES: Duration = Duration::from_secs(20);
const CONNECT_WITHIN_S: u64 = 5;
const SILENT_AFTER_S: u64 = 5;
/// From one checkpoint to the next: one of these for each life.
const EVERY_MS: [u64; 3] = [10, 50, 200];
const KEEP: usize = 3;
const CHECKPOINTS: &str = "checkpoints";
const HOSTS: &str = "hosts.txt";
const MOST_PROCESSES: usize = 3;
/// Below the ports that systems give to whoever calls.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const GLANCE: Duration = Duration::from_micros(200);

/// What is to be lived.
pub(super) struct Life {
    pub(super) number: usize,
    pub(super) plan: Plan,
    /// After so many kills it is left in peace.
    pub(super) most_kills: u64,
}

/// Lives it, and compares what it leaves with what an undisturbed run wrote.
///
/// # Errors
/// What went wrong first. The folder is left as it is then.
pub(super) fn live(
    ground: &Ground,
    undisturbed: &Undisturbed,
    life: Life,
    mut chance: Chance,
    numbers: &mut Numbers,
) -> Result<(), String> {
    let folder = ground.folder.join(format!("life-{}", life.number));
    let every = chance.pick(&EVERY_MS);
    let hosts = lay_out(ground, undisturbed.output, &folder, every)?;
    let left = |wrong: String| format!("{wrong}\nthe folder is left as it is: {}", folder.display());
    let mut layouts = Vec::new();
    let mut kills = 0;
    loop {
        let layout = life.plan.layout(layouts.len(), &mut chance);
        let moment = (kills < life.most_kills).then(|| Moment::draw(&mut chance, undisturbed.run, undisturbed.length));
        write(&folder.join(HOSTS), &hosts[..layout.processes].concat())?;
        let set = Set::start(ground, &folder, layout, layouts.len())?;
        layouts.push(layout.to_string());
        let mut attempt = Attempt { set, watched: Watched::new(&folder, undisturbed), moment, chance: &mut chance };
        let ended = attempt.run(life.plan, numbers).map_err(left)?;
        kills += u64::from(ended.killed);
        if ended.complete {
            break;
        }
    }
    write(&folder.join(HOSTS), &hosts[0])?;
    let again = Set::start(ground, &folder, Layout { processes: 1, workers: 1 }, layouts.len())?;
    let bytes = settled(again).and_then(|()| examine(ground, undisturbed, &folder)).map_err(left)?;
    numbers.life(layouts.len(), bytes);
    println!(
        "life {:>2}: {:<9} checkpoints every {every:>3} ms, processes x workers {}: {kills} kills, {bytes} bytes are the same",
        life.number,
        undisturbed.output.name(),
        layouts.join(" ")
    );
    undisturbed.output.clear(&folder, &ground.databases)?;
    fs::remove_dir_all(&folder).map_err(told(&folder))
}

/// A folder with a pipeline; the lines for the file of its hosts.
fn lay_out(ground: &Ground, output: Output, folder: &Path, every: u64) -> Result<Vec<String>, String> {
    fs::create_dir_all(folder).map_err(told(folder))?;
    output.prepare(folder, &ground.databases)?;
    let (pipeline, more) = (ground.pipeline(output, folder)?, output.checkpoint());
    let checkpoint = format!("checkpoint: {{ dir: {CHECKPOINTS}, every: {every}ms, keep: {KEEP}{more} }}\n");
    let limits = format!("connect_within: {CONNECT_WITHIN_S}s, silent_after: {SILENT_AFTER_S}s");
    write(&folder.join(PIPELINE), &format!("{pipeline}{checkpoint}cluster: {{ hosts: {HOSTS}, {limits} }}\n"))?;
    Ok(ports()?.map(|port| format!("127.0.0.1:{port}\n")).collect())
}

/// Ports that nobody listens on just now.
fn ports() -> Result<impl Iterator<Item = u16>, String> {
    let from = PORTS.start + (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free: Vec<u16> = (from..PORTS.end).chain(PORTS.start..from).filter(is_free).take(MOST_PROCESSES).collect();
    if free.len() < MOST_PROCESSES { Err("there are no free ports".to_owned()) } else { Ok(free.into_iter()) }
}

/// One start, until all have ended.
struct Attempt<'a> {
    set: Set,
    watched: Watched,
    moment: Option<Moment>,
    chance: &'a mut Chance,
}

/// What came of it.
struct Ended {
    /// The output is there.
    complete: bool,
    /// Somebody was killed.
    killed: bool,
}

impl Attempt<'_> {
    fn run(&mut self, plan: Plan, numbers: &mut Numbers) -> Result<Ended, String> {
        let strikes = self.watch()?;
        let mut outlived = Duration::ZERO;
        if strikes {
            self.strike()?;
            outlived = self.wait_for_the_others()?;
        }
        let ends = self.set.ends();
        let killed = ends.iter().filter(|end| **end == Some(End::Killed)).count();
        if let Some(resumed) = Resumed::read(&self.set.said(0)) {
            numbers.resumed(resumed, self.watched.grew);
        }
        if killed > 0 {
            let survivors = (ends.len() > killed).then_some(outlived);
            numbers.killed(plan, killed, self.watched.when(), survivors);
        }
        self.judge(&ends)
    }

    /// Whether the moment has come, or all have ended.
    fn watch(&mut self) -> Result<bool, String> {
        loop {
            let ended = self.set.have_ended();
            self.watched.look(self.set.age());
            if self.set.ends().contains(&Some(End::Badly)) {
                // The others say why.
                self.wait_for_the_others()?;
                return Err(format!("nobody was killed, and it failed:{}", self.set.told()));
            }
            if ended {
                return Ok(false);
            }
            if self.moment.is_some_and(|moment| self.watched.has_come(moment, self.set.age())) {
                return Ok(true);
            }
            if self.set.age() > ENDS_WITHIN {
                return Err(format!("it hangs:{}", self.set.told()));
            }
            thread::sleep(GLANCE);
        }
    }

    /// Kills one of those that run, or all.
    fn strike(&mut self) -> Result<(), String> {
        let running = self.set.running();
        if self.chance.percent(25) {
            running.into_iter().try_for_each(|process| self.set.kill(process))
        } else {
            let victim = self.chance.pick(&running);
            self.set.kill(victim)
        }
    }

    /// How long they went on.
    fn wait_for_the_others(&mut self) -> Result<Duration, String> {
        let since = Instant::now();
        while !self.set.have_ended() {
            self.watched.look(self.set.age());
            if since.elapsed() > SURVIVES {
                return Err(format!("one has ended, and after {SURVIVES:?} others have not:{}", self.set.told()));
            }
            thread::sleep(GLANCE);
        }
        Ok(since.elapsed())
    }

    /// Whoever was not killed has ended well, when all was done, or names one that is gone: the one that was killed, or another one that
    /// ended because of it.
    fn judge(&self, ends: &[Option<End>]) -> Result<Ended, String> {
        let of = |wanted: End| (0..ends.len()).filter(move |process| ends[*process] == Some(wanted));
        let (killed, complete) = (of(End::Killed).next().is_some(), ends[0] == Some(End::Well));
        let names = |process: usize, lost: usize| self.set.said(process).contains(&format!("process {lost}"));
        let others = || (0..ends.len()).filter(|lost| ends[*lost] != Some(End::Well));
        if let Some(silent) =
            of(End::Badly).find(|&process| !others().any(|lost| lost != process && names(process, lost)))
        {
            return Err(format!("process {silent} does not say who is gone:{}", self.set.told()));
        }
        let mut bad = of(End::Badly).peekable();
        if bad.peek().is_some() && !bad.any(|process| of(End::Killed).any(|lost| names(process, lost))) {
            return Err(format!("nobody says who was killed:{}", self.set.told()));
        }
        if let Some(early) = of(End::Well).find(|_| !complete && !self.watched.is_nearly_done()) {
            return Err(format!("process {early} ended well, though one was killed in the middle:{}", self.set.told()));
        }
        Ok(Ended { complete, killed })
    }
}

/// The output as it grows.
struct Watched {
    path: PathBuf,
    partial: PathBuf,
    /// Its length in the end.
    whole: u64,
    /// What it has been at least since the start: a run that goes on may cut it back first.
    least: u64,
    length: u64,
    /// When it first grew.
    grew: Option<Duration>,
    named: Option<Duration>,
}

impl Watched {
    fn new(folder: &Path, undisturbed: &Undisturbed) -> Self {
        let path = folder.join(undisturbed.output.watched());
        let partial = folder.join(format!("{}.partial", undisturbed.output.watched()));
        let length = length(&partial).unwrap_or_default();
        Self { path, partial, whole: undisturbed.length, least: length, length, grew: None, named: None }
    }

    fn look(&mut self, age: Duration) {
        match length(&self.partial) {
            Some(length) => {
                (self.length, self.least) = (length, self.least.min(length));
                if length > self.least {
                    self.grew.get_or_insert(age);
                }
            }
            None if self.path.exists() => drop(self.named.get_or_insert(age)),
            None => {}
        }
    }

    fn has_come(&self, moment: Moment, age: Duration) -> bool {
        match moment {
            Moment::After(time) => age >= time,
            Moment::AtLength(length) => self.length >= length || self.named.is_some(),
            Moment::Named(time) => self.named.is_some_and(|named| age >= named + time),
        }
    }

    fn when(&self) -> When {
        match (self.grew, self.named) {
            (_, Some(_)) => When::Named,
            (Some(_), _) => When::Writing,
            (None, None) => When::Starting,
        }
    }

    /// The last tenth is no proof: records are written a little later than they are done.
    fn is_nearly_done(&self) -> bool {
        self.named.is_some() || self.length >= self.whole / 10 * 9
    }
}

fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

/// Started once more when all is done, it says so and ends.
fn settled(mut set: Set) -> Result<(), String> {
    while !set.have_ended() {
        if set.age() > ENDS_WITHIN {
            return Err(format!("it was complete, and does not end when started again:{}", set.told()));
        }
        thread::sleep(GLANCE);
    }
    if set.ends() != [Some(End::Well)] || !set.said(0).contains("nothing left to do") {
        return Err(format!("it was complete, and does not say so when started again:{}", set.told()));
    }
    Ok(())
}

/// How many bytes are as they should be.
fn examine(ground: &Ground, undisturbed: &Undisturbed, folder: &Path) -> Result<u64, String> {
    let is_ours = |name: &str| name.starts_with("said-") || [PIPELINE, HOSTS, CHECKPOINTS].contains(&name);
    if let Some(name) = names(folder)?.into_iter().find(|name| !is_ours(name) && !undisturbed.output.leaves(name)) {
        return Err(format!("{name} is left behind"));
    }
    let kept = names(&folder.join(CHECKPOINTS))?;
    let count = kept.iter().filter(|name| name.starts_with("checkpoint-")).count();
    // One more where the last was written, and the kill came before older ones were removed.
    if kept.iter().any(|name| name.ends_with(".tmp")) || !(1..=KEEP + 1).contains(&count) {
        return Err(format!("{KEEP} checkpoints and nothing unfinished are expected, there are {kept:?}"));
    }
    ground.call(folder, &["checkpoints", "verify", CHECKPOINTS])?;
    compare(&undisturbed.pieces, &undisturbed.output.read(folder, &ground.databases)?)
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(told(folder))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

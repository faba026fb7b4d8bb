//! What was found, and is mended.

use inflight_sim::recovery::{Laboratory, Trial};

/// The output had records behind the positions of a checkpoint, since a run had been told of them and had not read them again by then. The
/// next run knew nothing of that, and sent them once more.
#[test]
fn what_is_recorded_and_not_read_again_goes_into_the_checkpoint() {
    let trial = Trial::new(105).crash(84);
    let report = Laboratory::new().run(trial).unwrap_or_else(|violation| panic!("{violation:?}"));
    assert!(report.recorded > 0 && report.restored > 0, "the trial has become another: {report:?}");
}

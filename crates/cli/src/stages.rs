//! Which steps may run at the same time, and which have to wait for the result of another.

/// The steps in stages: a step stands in the first stage after those of all the steps that it needs, so the steps of
/// one stage are independent and run at the same time. Within a stage the order of the file is kept.
///
/// `needs[i]` lists the steps whose results step `i` reads.
///
/// # Errors
/// Steps that wait for each other in a circle, each needing the next, the last one the first.
pub fn stages(needs: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, Vec<usize>> {
    let mut placed = vec![false; needs.len()];
    let mut stages = Vec::new();
    loop {
        let ready = |step: &usize| !placed[*step] && needs[*step].iter().all(|needed| placed[*needed]);
        let stage: Vec<usize> = (0..needs.len()).filter(ready).collect();
        if stage.is_empty() {
            break;
        }
        stage.iter().for_each(|step| placed[*step] = true);
        stages.push(stage);
    }
    match placed.iter().position(|placed| !placed) {
        None => Ok(stages),
        Some(stuck) => Err(circle(needs, &placed, stuck)),
    }
}

/// Follows the steps that could not be placed from one to the next until one comes up again.
fn circle(needs: &[Vec<usize>], placed: &[bool], start: usize) -> Vec<usize> {
    let mut way = vec![start];
    loop {
        let here = way[way.len() - 1];
        // A step that is stuck needs another that is stuck, or it would have been placed.
        let Some(next) = needs[here].iter().copied().find(|needed| !placed[*needed]) else { return way };
        if let Some(seen) = way.iter().position(|step| *step == next) {
            return way.split_off(seen);
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_steps_share_a_stage() {
        assert_eq!(stages(&[vec![], vec![], vec![]]), Ok(vec![vec![0, 1, 2]]));
        assert_eq!(stages(&[]), Ok(vec![]));
    }

    #[test]
    fn a_step_waits_for_all_that_it_needs() {
        // 0 needs 2 and 3, 3 needs 1.
        assert_eq!(stages(&[vec![2, 3], vec![], vec![], vec![1]]), Ok(vec![vec![1, 2], vec![3], vec![0]]));
    }

    #[test]
    fn a_circle_is_told_without_the_steps_that_lead_to_it() {
        // 0 needs 1, which is in the circle 1 -> 2 -> 3 -> 1; 4 is free.
        assert_eq!(stages(&[vec![1], vec![2], vec![3], vec![1], vec![]]), Err(vec![1, 2, 3]));
        assert_eq!(stages(&[vec![0]]), Err(vec![0]));
    }
}

//! The keys of one call, asked for together, and in halves where one of them fails the others.

use crate::{Answer, Error, ErrorKind};

/// What is yet to be asked of a call, and what is known about all of it.
pub(crate) struct Halves<'a, P> {
    slices: Vec<Slice<'a, P>>,
    answers: Vec<Answer>,
}

/// Keys that are asked for together.
pub(crate) struct Slice<'a, P> {
    /// Where they stand in the call.
    places: &'a [usize],
    /// The parts of all of them, one key after the other.
    pub(crate) parts: &'a [P],
}

impl<'a, P> Halves<'a, P> {
    /// Keys to ask for, `most` of them at once: their places in the call, and their parts, as many for each. `answers` has what is
    /// known without asking.
    pub(crate) fn new(places: &'a [usize], parts: &'a [P], most: usize, answers: Vec<Answer>) -> Self {
        let width = parts.len().checked_div(places.len()).unwrap_or_default().max(1);
        let slices = places.chunks(most).zip(parts.chunks(most * width));
        Self { slices: slices.rev().map(|(places, parts)| Slice { places, parts }).collect(), answers }
    }

    /// The next to be asked together.
    pub(crate) fn next(&mut self) -> Option<Slice<'a, P>> {
        self.slices.pop()
    }

    /// They were answered, in their order.
    pub(crate) fn answered(&mut self, slice: Slice<'a, P>, found: Vec<Answer>) {
        slice.places.iter().zip(found).for_each(|(place, answer)| self.answers[*place] = answer);
    }

    /// They were refused: if one of them is to blame, they are asked for in halves until it is alone.
    pub(crate) fn refused(&mut self, Slice { places, parts }: Slice<'a, P>, error: Error) -> Result<(), Error> {
        match places {
            _ if error.kind() != ErrorKind::Malformed => return Err(error),
            [place] => self.answers[*place] = Err(error),
            _ => {
                let half = places.len() / 2;
                let (places, parts) = (places.split_at(half), parts.split_at(parts.len() / places.len() * half));
                self.slices.push(Slice { places: places.0, parts: parts.0 });
                self.slices.push(Slice { places: places.1, parts: parts.1 });
            }
        }
        Ok(())
    }

    /// When nothing is left to be asked.
    pub(crate) fn answers(self) -> Vec<Answer> {
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Asks for pairs of equal numbers, of which those above 100 fail whatever they are asked with.
    fn ask(numbers: &[u64], most: usize) -> (Vec<Answer>, usize) {
        let places: Vec<usize> = (0..numbers.len()).collect();
        let parts: Vec<u64> = numbers.iter().flat_map(|number| [*number; 2]).collect();
        let mut halves = Halves::new(&places, &parts, most, vec![Ok(None); numbers.len()]);
        let mut calls = 0;
        while let Some(slice) = halves.next() {
            calls += 1;
            if slice.parts.iter().any(|number| *number > 100) {
                halves.refused(slice, Error::new(ErrorKind::Malformed, "too large")).unwrap();
            } else {
                let found = slice.parts.chunks(2).map(|pair| Ok(Some(json!(pair)))).collect();
                halves.answered(slice, found);
            }
        }
        (halves.answers(), calls)
    }

    #[test]
    fn one_that_fails_all_fails_alone() {
        let mut numbers: Vec<u64> = (0..64).collect();
        numbers[40] = 101;
        let (answers, calls) = ask(&numbers, 64);
        assert_eq!(calls, 13);
        for (index, answer) in answers.iter().enumerate() {
            assert_eq!(answer.is_err(), index == 40);
            assert!(index == 40 || answer.as_ref().is_ok_and(|found| *found == Some(json!([index, index]))));
        }
    }

    #[test]
    fn many_go_in_pieces() {
        let (answers, calls) = ask(&(0..50).collect::<Vec<_>>(), 20);
        assert_eq!(calls, 3);
        assert!(answers.iter().enumerate().all(|(at, answer)| *answer.as_ref().unwrap() == Some(json!([at, at]))));
        let (answers, calls) = ask(&[], 20);
        assert!(answers.is_empty() && calls == 0);
    }

    #[test]
    fn what_says_nothing_about_a_key_fails_all() {
        let mut halves = Halves::new(&[0, 1], &[1, 2], 2, vec![Ok(None); 2]);
        let slice = halves.next().unwrap();
        assert!(halves.refused(slice, Error::new(ErrorKind::Unavailable, "away")).is_err());
    }
}

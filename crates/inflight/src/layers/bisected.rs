//! A batch that fails because of one record is halved until that record is alone.

use super::handed_on::handed_on;
use crate::batch::{BatchFunction, BatchResult};

/// A [`BatchFunction`] that halves a batch whose call failed with an error that `concerns_data`, and asks for the halves, one after
/// the other, until what cannot be asked for is alone: all other records get their answer.
///
/// One bad record among 64 costs 13 calls, in the worst case, where all are bad, `n` records cost `2n - 1`: less than two for each, which
/// is what they would cost without batches and one retry. The error is an answer of a service that is well, so this is no retry, and takes
/// nothing from a budget for those. On an error that does not concern data the rest of the batch is not asked for: it fails with that error.
///
/// ```
/// use inflight::{BatchFunction, by_key};
/// use inflight::layers::bisected;
///
/// let numbers = |texts: Vec<String>| async move {
///     let parsed = texts.into_iter().map(|text| text.parse().map(|number: u32| (text, number)));
///     parsed.collect::<Result<_, _>>()                              // one that is no number fails them all
/// };
/// let numbers = bisected(by_key(|text: &String| text.clone(), numbers), |_: &std::num::ParseIntError| true);
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let answers = numbers.invoke(vec!["1".to_owned(), "two".to_owned(), "3".to_owned()]).await.unwrap();
/// assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok());
/// # });
/// ```
///
/// # Cancel safety
/// A batch that is given up ends with the call that is on the wire.
pub const fn bisected<F, E>(function: F, concerns_data: fn(&E) -> bool) -> Bisected<F, E> {
    Bisected { function, concerns_data }
}

/// See [`bisected`].
#[derive(Clone, Copy, Debug)]
pub struct Bisected<F, E> {
    function: F,
    /// Whether it says that a record is at fault, and not the service.
    concerns_data: fn(&E) -> bool,
}

impl<I, F> BatchFunction<I> for Bisected<F, F::Error>
where
    I: Clone + Send + Sync,
    F: BatchFunction<I>,
{
    type Output = F::Output;
    type Error = F::Error;

    async fn invoke(&self, inputs: Vec<I>) -> BatchResult<F::Output, F::Error> {
        match self.function.invoke(inputs.clone()).await {
            Err(error) if inputs.len() > 1 && (self.concerns_data)(&error) => {}
            done => return done,
        }
        let (first, second) = inputs.split_at(inputs.len() / 2);
        // The next one to be asked for is on top.
        let mut parts = vec![second, first];
        let mut results = Vec::with_capacity(inputs.len());
        while let Some(part) = parts.pop() {
            match self.function.invoke(part.to_vec()).await {
                Ok(answers) if answers.len() == part.len() => results.extend(answers),
                Ok(_) => return Ok(Vec::new()),
                Err(error) if !(self.concerns_data)(&error) => {
                    results.resize_with(inputs.len(), || Err(error.clone()));
                    break;
                }
                Err(error) if part.len() == 1 => results.push(Err(error)),
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(results)
    }

    handed_on!(I, F);
}

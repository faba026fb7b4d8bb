//! Look-ups per second: the bare driver, the connector by hand, and the connector behind the operator.

use tokio::runtime::Runtime;

use crate::Effort;
use crate::contest::{Contestant, compete, print};
use crate::keys::{Keys, Spread};
use crate::operator::{AUTO, DEPTH, FIXED, Lookup, Users, by_hand, operator};

/// Who is measured, on how many connections, with which keys.
pub(crate) struct Match<'a> {
    pub(crate) connections: usize,
    pub(crate) spread: Spread,
    pub(crate) bare: Contestant<'a>,
    /// The name of the connector.
    pub(crate) connector: &'a str,
}

impl Match<'_> {
    /// Prints a table. `connect` makes a look-up of the connector.
    pub(crate) fn print<L: Lookup>(self, runtime: &Runtime, effort: &Effort, connect: impl Fn(&Runtime) -> L) {
        let Self { connections, spread, bare, connector } = self;
        let keys = || Keys::new(spread, effort.rows);
        let (users, connect, keys) = (connect(runtime), &connect, &keys);
        let behind = |concurrency, ordered| {
            move |runtime: &Runtime, window| {
                let users = connect(runtime);
                runtime.block_on(operator(Users(users), concurrency, ordered, keys(), window)).0
            }
        };
        let contestants = [
            bare,
            Contestant::new(format!("`{connector}` by hand"), |runtime, window| {
                runtime.block_on(by_hand(&users, connections * DEPTH, keys(), window))
            }),
            Contestant::new("inflight, unordered", behind(FIXED, false)),
            Contestant::new("inflight, ordered", behind(FIXED, true)),
            Contestant::new("inflight, ordered, `auto`", behind(AUTO, true)),
        ];
        print(&format!("{connections} connections, {spread:?} keys"), &compete(runtime, effort, &contestants));
    }
}

//! What operators that share a destination make of servers of all kinds, in virtual time.

mod auto;
mod hedge;
mod outage;

//! The program as its users meet it: files in, texts and exit codes out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod check;
mod commands;
mod explain;
mod mutations;
mod schema;
mod setup;
mod workspace;

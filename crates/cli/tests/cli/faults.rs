//! When the world misbehaves: real servers, a proxy before them that does harm, and the program with records flowing through it.
#![cfg(target_os = "linux")]

mod dialect;
mod flow;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod mysql;
mod nats;
mod pace;
mod place;
mod postgres;
mod proxy;
mod redis;
mod sink;
mod story;

//! The program `inflight`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Records are many small allocations: with the allocator of glibc they take a third more processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    inflight_cli::commands::main()
}

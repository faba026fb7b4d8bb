//! Files, stdin and stdout: JSON lines and CSV, plain or gzip.
//!
//! [`FileSource`] and [`FileSink`] are what a pipeline uses; both are opened from a configuration that says by itself
//! which format and compression it means, mostly through the name of the file. [`JsonLines`] and [`Csv`] are the
//! readers underneath, which take any [`Read`](std::io::Read).
//!
//! A source may be made of several files, its [partitions](FileSourceConfig::partitions), each read by itself.
//!
//! Nothing is lost silently: a line that cannot be read ends the source with an error that has its line, column and
//! record number; a cut-off gzip file or a quote that is never closed is an error and not an early end; an output file
//! gets its name only when it is complete.

mod column;
mod config;
mod csv;
mod encode;
mod input;
mod json_lines;
mod output;
mod partitions;
mod position;
mod reach;
mod sink;
mod source;

pub use column::ColumnType;
pub use config::{Compression, FileSinkConfig, FileSourceConfig, Format};
pub use csv::{Csv, CsvOptions};
pub use json_lines::JsonLines;
pub use partitions::MAX_FILES;
pub use sink::FileSink;
pub use source::FileSource;

#[cfg(feature = "sqlite")]
pub(crate) use {input::Input, reach::folder_is_there, source::csv_options};

/// Longest line, or longest CSV record, that is read unless the configuration says otherwise: 16 MiB.
///
/// A reader stops when a line is longer, so a file without line ends cannot fill the memory.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

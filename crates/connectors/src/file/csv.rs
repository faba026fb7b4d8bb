//! Reading CSV: a header, then one record per row.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;

use super::input::read_error;
use super::position::Reached;
use super::{ColumnType, MAX_LINE_BYTES};
use crate::blank::blank;
use crate::suggestion::{did_you_mean, list};
use crate::{Error, ErrorKind, Record};

const BUFFER_BYTES: usize = 64 * 1024;

/// How to read a CSV text.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvOptions {
    /// What separates fields. Default: a comma.
    pub delimiter: u8,
    /// Texts that stand for no value, in any column. Default: none.
    pub null: Vec<String>,
    /// Types of columns; those not named are text. Default: none.
    pub columns: BTreeMap<String, ColumnType>,
    /// Longest record, and longest header, in bytes. Default: [`MAX_LINE_BYTES`].
    pub max_line_bytes: usize,
}

/// The records of a CSV text (RFC 4180: fields may be quoted, and quoted fields may hold delimiters, line ends and
/// doubled quotes). The first row names the columns. Blank lines are skipped. After an error there is no more.
///
/// ```
/// use inflight_connectors::file::{ColumnType, Csv, CsvOptions};
///
/// let options = CsvOptions {
///     null: vec!["NA".to_owned()],
///     columns: [("dep_time".to_owned(), ColumnType::Int)].into(),
///     ..CsvOptions::default()
/// };
/// let text = "tailnum,dep_time\nN14228,517\nNA,NA\nN668DN,soon\n";
/// let mut rows = Csv::new(text.as_bytes(), &options)?;
/// assert_eq!(rows.next().unwrap()?["dep_time"], 517);
/// assert!(rows.next().unwrap()?["tailnum"].is_null());
/// let error = rows.next().unwrap().unwrap_err();
/// assert!(error.to_string().starts_with("line 4, column \"dep_time\", record 3: \"soon\" is not an int"));
/// # Ok::<(), inflight_connectors::Error>(())
/// ```
#[derive(Debug)]
pub struct Csv<R> {
    rows: ::csv::Reader<LineFeed<R>>,
    row: ::csv::ByteRecord,
    columns: Vec<(String, ColumnType)>,
    blank: Record,
    null: Vec<String>,
    records: u64,
    ended: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', null: Vec::new(), columns: BTreeMap::new(), max_line_bytes: MAX_LINE_BYTES }
    }
}

impl<R: Read> Csv<R> {
    /// Reads the header from `reader`, which need not be buffered. No more than a record of the greatest permitted
    /// length is ever held.
    ///
    /// # Errors
    ///
    /// When there is no header, two columns have the same name, or `options` names a column that does not exist.
    pub fn new(reader: R, options: &CsvOptions) -> Result<Self, Error> {
        let feed = LineFeed::new(reader, options.max_line_bytes);
        let rows = ::csv::ReaderBuilder::new().has_headers(false).delimiter(options.delimiter).from_reader(feed);
        let mut csv = Self {
            rows,
            row: ::csv::ByteRecord::new(),
            columns: Vec::new(),
            blank: Record::new(),
            null: options.null.clone(),
            records: 0,
            ended: false,
        };
        csv.read_header(&options.columns).map_err(|error| error.at_line(csv.first_line()))?;
        Ok(csv)
    }

    /// The names of the columns, in the order of the file.
    pub fn header(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Goes on, after the header, with a text of which so much has been read; `reader` begins with what comes next.
    /// A line feed there still belongs to the line before if that ended in a carriage return.
    pub(super) fn continue_with(&mut self, reader: R, reached: Reached, after_carriage_return: bool) {
        // The parser holds nothing: what it is fed ends with a line, and so did the header.
        let feed = self.rows.get_mut();
        *feed = LineFeed::new(reader, feed.limit);
        (feed.offset, feed.line, feed.inside_line) = (reached.offset, reached.line, after_carriage_return);
        self.records = reached.record;
    }

    /// How much has been read when a record has just been returned.
    pub(super) fn reached(&self) -> Reached {
        let feed = self.rows.get_ref();
        Reached { offset: feed.offset, line: feed.line, record: self.records }
    }

    /// Whether the next record can be read without waiting for input. One with line ends inside quotes may still
    /// have to be waited for.
    pub(crate) fn is_ready(&self) -> bool {
        self.rows.get_ref().reader.buffer().contains(&b'\n')
    }

    fn read_header(&mut self, types: &BTreeMap<String, ColumnType>) -> Result<(), Error> {
        if !self.read_row()? {
            let message = "the file is empty; a CSV file begins with a line that names its columns";
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        for name in &self.row {
            let name = utf8(name)?.to_owned();
            let column_type = types.get(&name).copied().unwrap_or_default();
            self.columns.push((name, column_type));
        }
        let mut names = HashSet::new();
        if let Some(twice) = self.header().find(|name| !names.insert(*name)) {
            let message = format!("the header names the column \"{twice}\" twice; rename one of them");
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        if let Some(unknown) = types.keys().find(|name| !names.contains(name.as_str())) {
            let message = format!(
                "`columns` names \"{unknown}\", which is not in the header{}; there are {}",
                did_you_mean(unknown, self.header()),
                list(self.header())
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.blank = blank(self.header());
        Ok(())
    }

    /// Reads the next row into `self.row`; false at the end.
    fn read_row(&mut self) -> Result<bool, Error> {
        self.rows.get_mut().begin_record();
        let more = self.rows.read_byte_record(&mut self.row).map_err(row_error)?;
        // Each line comes with its end, so only a row inside quotes reads on into the end of the file.
        if more && self.rows.get_ref().at_end {
            let message = "the file ends inside a quoted field that begins in this record; a closing quote is missing";
            return Err(Error::new(ErrorKind::Truncated, message));
        }
        Ok(more)
    }

    fn next_record(&mut self) -> Result<Option<Record>, Error> {
        if !self.read_row()? {
            return Ok(None);
        }
        let mut record = self.blank.clone();
        for ((value, (name, column_type)), field) in record.values_mut().zip(&self.columns).zip(&self.row) {
            *value = self.value(*column_type, field).map_err(|error| error.in_field(name))?;
        }
        self.records += 1;
        Ok(Some(record))
    }

    fn value(&self, column_type: ColumnType, field: &[u8]) -> Result<Value, Error> {
        let text = utf8(field)?;
        if self.null.iter().any(|null| null == text) {
            return Ok(Value::Null);
        }
        column_type.parse(text).map_err(|message| Error::new(ErrorKind::Malformed, message))
    }

    fn first_line(&self) -> u64 {
        let feed = self.rows.get_ref();
        feed.first_line.unwrap_or(feed.line).max(1)
    }
}

impl<R: Read> Iterator for Csv<R> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_record();
        self.ended = !matches!(next, Ok(Some(_)));
        next.map_err(|error| error.at_line(self.first_line()).in_record(self.records + 1)).transpose()
    }
}

fn utf8(field: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(field).map_err(|error| {
        let byte = field.get(error.valid_up_to()).copied().unwrap_or_default();
        let message = format!("byte 0x{byte:02X} is not valid UTF-8; convert the file to UTF-8");
        Error::new(ErrorKind::Malformed, message).caused_by(error)
    })
}

fn row_error(error: ::csv::Error) -> Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
            Some(TooLong { limit }) => Error::new(
                ErrorKind::TooLong,
                format!(
                    "the record is longer than {limit} bytes; a closing quote may be missing; if it is right, raise \
                     `max_line_bytes`"
                ),
            ),
            None => read_error(error),
        },
        ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Error::new(
            ErrorKind::Malformed,
            format!("{len} fields, but the header names {expected_len} columns; quote fields that hold the delimiter"),
        ),
        // The kinds left belong to typed reading and to writing.
        other => Error::new(ErrorKind::Malformed, format!("{other:?}")),
    }
}

/// Feeds the CSV parser one line at a time, so that at any moment it is known which lines it has seen and how long its
/// record has become. The parser's own line numbers are off after blank lines and for CRLF, and it has no limit.
///
/// A last line without a line end gets one.
#[derive(Debug)]
struct LineFeed<R> {
    reader: BufReader<R>,
    limit: usize,
    /// What is left of the limit for the record being read.
    budget: usize,
    /// The bytes fed.
    offset: u64,
    /// The line last fed.
    line: u64,
    /// The first line of the record being read that is not blank.
    first_line: Option<u64>,
    inside_line: bool,
    at_end: bool,
}

#[derive(Debug)]
struct TooLong {
    limit: usize,
}

impl<R: Read> LineFeed<R> {
    fn new(reader: R, limit: usize) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Self { reader, limit, budget: 0, offset: 0, line: 0, first_line: None, inside_line: false, at_end: false }
    }

    fn begin_record(&mut self) {
        self.budget = self.limit.saturating_add(1); // the record and its end
        self.first_line = None;
    }
}

impl<R: Read> Read for LineFeed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let available = if available.is_empty() && self.inside_line { b"\n" } else { available };
        if available.is_empty() {
            self.at_end = true;
            return Ok(0);
        }
        // A carriage return alone may also end a record.
        let line_end =
            available.iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(available.len(), |at| at + 1);
        if !self.inside_line {
            self.line += 1;
        }
        let chunk = &available[..line_end.min(into.len()).min(self.budget)];
        if chunk.is_empty() {
            return Err(io::Error::other(TooLong { limit: self.limit }));
        }
        if self.first_line.is_none() && chunk.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            self.first_line = Some(self.line);
        }
        into[..chunk.len()].copy_from_slice(chunk);
        self.inside_line = chunk.last() != Some(&b'\n');
        let count = chunk.len();
        if self.first_line.is_some() {
            self.budget -= count; // blank lines in front of a record are not part of it
        }
        let consumed = count.min(self.reader.buffer().len());
        self.reader.consume(consumed);
        self.offset += consumed as u64;
        Ok(count)
    }
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "longer than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLong {}

#[cfg(test)]
mod tests;

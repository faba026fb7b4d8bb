//! The statements that ask for keys, and what their rows mean.

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value as Part};
use serde_json::Value;

use super::keys::{KeyType, whole_of};
use super::quotes::quoted_length;
use super::value::Read;
use crate::blank::blank;
use crate::mysql::error::mysql_error;
use crate::mysql::table::Table;
use crate::mysql::{MysqlLookupConfig, quoted};
use crate::parameters::replaced;
use crate::select::Rows;
use crate::suggestion::{list, unknown};
use crate::{Answer, Error, ErrorKind, Key, Record};

/// For how many keys there are statements. What is left over is filled with nulls, which nothing is equal to. So a connection
/// has few statements prepared, whatever the sizes of batches are.
const SIZES: [usize; 4] = [1, 5, 25, 100];

const MIXED_COLLATIONS: u16 = 1267;

/// What is asked, as it was checked on one connection.
#[derive(Debug)]
pub(super) struct Question {
    asks: Asks,
    reads: Vec<Read>,
    blank: Record,
    key_columns: Vec<String>,
    keys: Vec<KeyType>,
    rows: Rows,
}

#[derive(Debug)]
enum Asks {
    /// A statement of each size.
    Table { statements: Vec<String>, tells: Tells },
    /// The user's statement, for one key, and of which key column each of its parameters is.
    Query { statement: String, parameters: Vec<usize> },
}

/// How a row tells whose it is, in its first column.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tells {
    /// By the key itself, a whole number of which there is one in the table at most: the fastest there is.
    Key,
    /// By the number of the key among those asked for. Only the database knows which texts it takes for equal.
    Number,
}

impl Question {
    /// Prepares the smallest statement, which shows whether that is permitted.
    pub(super) async fn prepare(
        conn: &mut Conn,
        config: &MysqlLookupConfig,
        key_columns: &[String],
    ) -> Result<Self, Error> {
        match (&config.table, &config.query) {
            (Some(table), _) => {
                let table = Table::describe(conn, table).await?;
                Self::of_table(conn, &table, config, key_columns).await
            }
            (None, query) => Self::of_query(conn, query.as_deref().unwrap_or_default(), config, key_columns).await,
        }
    }

    async fn of_table(
        conn: &mut Conn,
        table: &Table,
        config: &MysqlLookupConfig,
        key_columns: &[String],
    ) -> Result<Self, Error> {
        let all = || table.columns.iter().map(|column| column.name.clone()).collect();
        let columns: Vec<String> = config.columns.clone().unwrap_or_else(all);
        let known = columns.iter().map(|name| table.column(name, "")).collect::<Result<Vec<_>, _>>()?;
        let key = key_columns.iter().map(|name| table.column(name, " to be its key")).collect::<Result<Vec<_>, _>>()?;
        let keys = key.iter().map(|column| KeyType::of_column(column)).collect::<Result<Vec<_>, _>>()?;
        let tells = match (key.as_slice(), keys.as_slice()) {
            ([column], [KeyType::Whole]) if column.is_unique && column.base_type != "bit" => Tells::Key,
            _ => Tells::Number,
        };
        let select: String = columns.iter().map(|name| format!(", {}", quoted(name))).collect();
        let from = format!("{select} from {}", table.sql_name());
        let statement = |size: usize| match tells {
            Tells::Key => of_keys(&quoted(&key_columns[0]), &from, size),
            Tells::Number => of_numbers(key_columns, &keys, &from, config.rows, size),
        };
        let statements: Vec<String> = SIZES.iter().map(|size| statement(*size)).collect();
        let prepared =
            conn.prep(&statements[0]).await.map_err(|error| mysql_error("cannot prepare the look-up", error))?;
        let described = prepared.columns();
        let reads = described.iter().skip(1).zip(known).map(|(column, known)| read(column, Some(known)));
        Ok(Self::new(
            Asks::Table { statements, tells },
            reads.collect::<Result<_, _>>()?,
            key_columns,
            keys,
            config.rows,
        ))
    }

    async fn of_query(
        conn: &mut Conn,
        query: &str,
        config: &MysqlLookupConfig,
        key_columns: &[String],
    ) -> Result<Self, Error> {
        let query = query.trim_end().trim_end_matches(';');
        let mut parameters = Vec::new();
        let statement = replaced(query, quoted_length, |name| {
            let position = key_columns.iter().position(|column| column == name);
            parameters.push(position.ok_or_else(|| unknown("key column for the parameter", name, key_columns))?);
            Ok::<_, Error>("?".to_owned())
        })?;
        if let Some(unused) = (0..key_columns.len()).find(|position| !parameters.contains(position)) {
            let name = &key_columns[unused];
            let message = format!("the query does not use the key column \"{name}\"; put ${name} in its `where`");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let prepared = conn.prep(&statement).await.map_err(|error| mysql_error("cannot prepare the query", error))?;
        let refuse = |message: &str| Err(Error::new(ErrorKind::Config, message));
        if usize::from(prepared.num_params()) != parameters.len() {
            return refuse("the query has a `?` that is no column of the key; write parameters as in $id");
        }
        let reads = prepared.columns().iter().map(|column| read(column, None)).collect::<Result<Vec<_>, _>>()?;
        if reads.is_empty() {
            return refuse("the query gives no rows back; a lookup needs a `select`");
        }
        if let Some((_, twice)) =
            reads.iter().enumerate().find(|(at, read)| reads[..*at].iter().any(|other| other.name == read.name))
        {
            return refuse(&format!("the query answers with two columns \"{}\"; rename one with `as`", twice.name));
        }
        let keys = vec![KeyType::AsItIs; key_columns.len()];
        Ok(Self::new(Asks::Query { statement, parameters }, reads, key_columns, keys, config.rows))
    }

    fn new(asks: Asks, reads: Vec<Read>, key_columns: &[String], keys: Vec<KeyType>, rows: Rows) -> Self {
        let blank = blank(reads.iter().map(|read| read.name.as_str()));
        Self { asks, reads, blank, key_columns: key_columns.to_vec(), keys, rows }
    }

    /// The names of the fields of an answer.
    pub(super) fn columns(&self) -> Vec<String> {
        self.reads.iter().map(|read| read.name.clone()).collect()
    }

    /// The values of a key as they travel; none when no row can have it.
    pub(super) fn parts(&self, key: &Key) -> Result<Option<Vec<Part>>, Error> {
        let parts = key.iter().zip(&self.keys).zip(&self.key_columns);
        parts.map(|((value, of), name)| of.part(value).map_err(|error| error.in_field(name))).collect()
    }

    /// Whether each key has a value for each key column.
    pub(super) fn check(&self, keys: &[Key]) -> Result<(), Error> {
        match keys.iter().find(|key| key.len() != self.keys.len()) {
            None => Ok(()),
            Some(key) => {
                let columns = list(self.key_columns.iter().map(String::as_str));
                let message = format!("a key has {} values for the columns {columns}", key.len());
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    /// The most keys that can be asked for at once.
    pub(super) fn most(&self) -> usize {
        match self.asks {
            Asks::Table { .. } => SIZES[SIZES.len() - 1],
            Asks::Query { .. } => 1,
        }
    }

    /// The rows for the keys that have these parts, one key after the other; at most [`most`](Self::most) keys.
    pub(super) async fn ask(&self, conn: &mut Conn, parts: &[Part]) -> Result<Vec<Row>, mysql_async::Error> {
        let keys = parts.len() / self.keys.len();
        match &self.asks {
            Asks::Query { statement, parameters } => {
                let values: Vec<Part> = parameters.iter().filter_map(|at| parts.get(*at).cloned()).collect();
                conn.exec(statement.as_str(), values).await
            }
            Asks::Table { statements, .. } => {
                let at = SIZES.iter().position(|size| *size >= keys).unwrap_or(SIZES.len() - 1);
                let mut values = parts.to_vec();
                values.resize(SIZES[at] * self.keys.len(), Part::NULL);
                match conn.exec(statements[at].as_str(), values).await {
                    // A text with characters that the column cannot have: no row has it.
                    Err(mysql_async::Error::Server(error)) if error.code == MIXED_COLLATIONS && keys == 1 => {
                        Ok(Vec::new())
                    }
                    rows => rows,
                }
            }
        }
    }

    /// What the rows say about each of the keys asked for, in their order.
    pub(super) fn answers(&self, rows: Vec<Row>, parts: &[Part]) -> Result<Vec<Answer>, Error> {
        let mut found: Vec<Vec<Value>> = vec![Vec::new(); parts.len() / self.keys.len()];
        match self.asks {
            Asks::Query { .. } => {
                let records = rows.into_iter().map(|row| self.record(row.unwrap())).collect::<Result<_, _>>()?;
                found = vec![records];
            }
            Asks::Table { tells: Tells::Number, .. } => {
                for row in rows {
                    let (number, values) = self.told(row)?;
                    if let Some(found) = usize::try_from(number).ok().and_then(|number| found.get_mut(number)) {
                        found.push(self.record(values)?);
                    }
                }
            }
            Asks::Table { tells: Tells::Key, .. } => {
                let mut row_of: HashMap<i128, Value> = HashMap::with_capacity(rows.len());
                for row in rows {
                    let (key, values) = self.told(row)?;
                    row_of.insert(key, self.record(values)?);
                }
                for (part, found) in parts.iter().zip(&mut found) {
                    found.extend(whole_of(part).and_then(|key| row_of.get(&key)).cloned());
                }
            }
        }
        Ok(found.into_iter().map(|rows| self.rows.answer(rows)).collect())
    }

    /// Whose the row is, and its other values.
    fn told(&self, row: Row) -> Result<(i128, Vec<Part>), Error> {
        let mut values = row.unwrap();
        if values.is_empty() {
            return Err(unread("a row has no values"));
        }
        let whose = whole_of(&values.remove(0)).ok_or_else(|| unread("a row does not say which key it is for"))?;
        Ok((whose, values))
    }

    fn record(&self, values: Vec<Part>) -> Result<Value, Error> {
        if values.len() != self.reads.len() {
            return Err(unread("a row has more or fewer values than columns"));
        }
        let mut record = self.blank.clone();
        for ((field, read), value) in record.values_mut().zip(&self.reads).zip(values) {
            *field = read.value(value).map_err(|problem| unread(&problem).in_field(&read.name))?;
        }
        Ok(Value::Object(record))
    }
}

/// A statement for keys that are whole numbers, each of one row at most.
fn of_keys(key: &str, columns_from: &str, size: usize) -> String {
    let marks = vec!["?"; size].join(", ");
    format!("select {key} as inflight_key{columns_from} where {key} in ({marks})")
}

/// A statement that does a `select` for each of the keys, as if it were asked for alone.
fn of_numbers(key_columns: &[String], keys: &[KeyType], columns_from: &str, rows: Rows, size: usize) -> String {
    let equal = |(name, of): (&String, &KeyType)| format!("{} = {}", quoted(name), of.placeholder());
    let equal = key_columns.iter().zip(keys).map(equal).collect::<Vec<_>>().join(" and ");
    let most = rows.asked_for();
    let each = |number| format!("(select {number} as inflight_key{columns_from} where {equal} limit {most})");
    (0..size).map(each).collect::<Vec<_>>().join(" union all ")
}

fn read(column: &mysql_async::Column, known: Option<&crate::mysql::table::Column>) -> Result<Read, Error> {
    Read::new(column, known).ok_or_else(|| {
        let name = column.name_str();
        let message = format!(
            "the column \"{name}\" is of a type of points, lines and areas, which JSON has no form for; leave it out by `columns`, \
             or write a `query` with st_asgeojson({name})"
        );
        Error::new(ErrorKind::Config, message)
    })
}

fn unread(problem: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("cannot read an answer: {problem}"))
}

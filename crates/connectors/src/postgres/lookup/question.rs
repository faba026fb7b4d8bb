//! The statement that asks for many keys at once, and what its rows mean.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::keys::{Column, KeyType, Part};
use super::quotes::quoted_length;
use super::value::{Json, is_read};
use crate::blank::blank;
use crate::parameters::replaced;
use crate::postgres::error::postgres_error;
use crate::postgres::table::Table;
use crate::postgres::{PostgresLookupConfig, names, quoted};
use crate::select::Rows;
use crate::suggestion::{list, unknown};
use crate::{Answer, Error, ErrorKind, Key, Record};

/// A prepared statement. One column of its rows tells which key they belong to.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) statement: Statement,
    /// Those of an answer, which are the first.
    pub(super) columns: Vec<String>,
    blank: Record,
    key_columns: Vec<String>,
    keys: Vec<KeyType>,
    tells: Tells,
    /// The column that tells.
    told_in: usize,
    rows: Rows,
}

/// How a row tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tells {
    /// By the key itself, of which there is one in the table at most: the fastest there is.
    Key,
    /// By the number of the key among those asked for, from 1.
    Number,
}

/// A statement that is not prepared yet.
struct Draft {
    sql: String,
    keys: Vec<KeyType>,
    tells: Tells,
    /// The column of the answer that tells, if one of them does; else there is one more behind them.
    told_in: Option<usize>,
}

impl Question {
    /// Prepares it, and asks for no keys at all, which shows whether that is permitted.
    pub(super) async fn prepare(
        client: &Client,
        config: &PostgresLookupConfig,
        key_columns: &[String],
    ) -> Result<Self, Error> {
        let failed = |error| postgres_error("cannot prepare the look-up", error);
        let draft = match (&config.table, &config.query) {
            (Some(table), _) => Draft::of_table(&Table::describe(client, table).await?, config, key_columns)?,
            (None, query) => Draft::of_query(client, query.as_deref().unwrap_or_default(), config, key_columns).await?,
        };
        let Draft { sql, keys, tells, told_in } = draft;
        let mut statement = client.prepare(&sql).await.map_err(failed)?;
        let columns = answer_columns(&statement, told_in.is_some())?;
        if let Some(sql) = converted(&sql, &statement) {
            statement = client.prepare(&sql).await.map_err(failed)?;
        }
        let (blank, told_in) = (blank(names(&columns)), told_in.unwrap_or(columns.len()));
        let key_columns = key_columns.to_vec();
        let question = Self { statement, columns, blank, key_columns, keys, tells, told_in, rows: config.rows };
        question.ask(client, &[]).await.map_err(|error| postgres_error("cannot look up", error))?;
        Ok(question)
    }

    /// How many parts each key has.
    pub(super) fn width(&self) -> usize {
        self.keys.len()
    }

    /// Adds the parts of a key as they travel; false, and nothing is added, when no row can have it.
    pub(super) fn add_parts<'a>(&self, key: &'a Key, parts: &mut Vec<Part<'a>>) -> Result<bool, Error> {
        let before = parts.len();
        for ((value, of), name) in key.iter().zip(&self.keys).zip(&self.key_columns) {
            match of.part(value).map_err(|error| error.in_field(name)) {
                Ok(Some(part)) => parts.push(part),
                none => {
                    parts.truncate(before);
                    return none.map(|_| false);
                }
            }
        }
        Ok(true)
    }

    /// Whether each key has a value for each key column.
    pub(super) fn check(&self, keys: &[Key]) -> Result<(), Error> {
        match keys.iter().find(|key| key.len() != self.keys.len()) {
            None => Ok(()),
            Some(key) => {
                let columns = list(names(&self.key_columns));
                let message = format!("a key has {} values for the columns {columns}", key.len());
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    /// Asks for the keys that have these parts, one key after the other.
    pub(super) async fn ask(&self, client: &Client, parts: &[Part<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let column = |(at, of): (usize, &KeyType)| of.column(parts.iter().skip(at).step_by(self.width()));
        let columns: Vec<Column<'_>> = self.keys.iter().enumerate().map(column).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            columns.iter().map(|column| &**column as &(dyn ToSql + Sync)).collect();
        client.query(&self.statement, &parameters).await
    }

    /// What the rows say about each of the keys asked for, in their order.
    pub(super) fn answers(&self, rows: &[Row], parts: &[Part<'_>]) -> Result<Vec<Answer>, Error> {
        match self.tells {
            Tells::Key => self.answers_by_key(rows, parts),
            Tells::Number => self.answers_by_number(rows, parts.len() / self.width()),
        }
    }

    fn answers_by_key(&self, rows: &[Row], keys: &[Part<'_>]) -> Result<Vec<Answer>, Error> {
        let mut row_of: HashMap<Part<'_>, &Row> = HashMap::with_capacity(rows.len());
        for row in rows {
            row_of.insert(self.told_key(row)?, row);
        }
        keys.iter().map(|key| Ok(Ok(row_of.get(key).map(|row| self.record(row)).transpose()?))).collect()
    }

    fn answers_by_number(&self, rows: &[Row], keys: usize) -> Result<Vec<Answer>, Error> {
        let mut found: Vec<Vec<Value>> = vec![Vec::new(); keys];
        for row in rows {
            let number: i64 = row.try_get(self.told_in).map_err(unread)?;
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            if let Some(found) = index.and_then(|index| found.get_mut(index)) {
                found.push(self.record(row)?);
            }
        }
        Ok(found.into_iter().map(|rows| self.rows.answer(rows)).collect())
    }

    fn told_key<'a>(&self, row: &'a Row) -> Result<Part<'a>, Error> {
        if let Some(KeyType::Text) = self.keys.first() {
            return Ok(Part::Text(Cow::Borrowed(row.try_get(self.told_in).map_err(unread)?)));
        }
        let Json(number) = row.try_get(self.told_in).map_err(unread)?;
        Ok(Part::Integer(number.as_i64().unwrap_or_default()))
    }

    fn record(&self, row: &Row) -> Result<Value, Error> {
        let mut record = self.blank.clone();
        for (index, (name, value)) in record.iter_mut().enumerate() {
            Json(*value) = row.try_get(index).map_err(|error| unread(error).in_field(name))?;
        }
        Ok(Value::Object(record))
    }
}

impl Draft {
    fn of_table(table: &Table, config: &PostgresLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        let all = || table.columns.iter().map(|column| column.name.clone()).collect();
        let columns: Vec<String> = config.columns.clone().unwrap_or_else(all);
        for name in &columns {
            table.column(name, "")?;
        }
        let key: Vec<_> =
            key_columns.iter().map(|name| table.column(name, " to be its key")).collect::<Result<_, _>>()?;
        let keys: Vec<_> = key.iter().map(|column| KeyType::of_column(&column.base_type)).collect();
        let select: Vec<_> = columns.iter().map(|name| format!("inflight_table.{}", quoted(name))).collect();
        let from = format!("from {} as inflight_table", table.sql_name());
        if let ([column], [of @ (KeyType::Integer { .. } | KeyType::Text)], true) =
            (key.as_slice(), keys.as_slice(), config.rows != Rows::All)
            && column.is_unique
        {
            let told_in = columns.iter().position(|name| *name == column.name);
            let key = format!("inflight_table.{}", quoted(&column.name));
            let beside = told_in.is_none().then(|| format!("{key} as inflight_key"));
            let select: Vec<_> = select.into_iter().chain(beside).collect();
            let sql = format!("select {} {from} where {key} = any({})", select.join(", "), of.array(1));
            return Ok(Self { sql, keys, tells: Tells::Key, told_in });
        }
        let matches = key_columns.iter().enumerate();
        let matches: Vec<_> =
            matches.map(|(at, name)| format!("inflight_table.{} = inflight_keys.k{}", quoted(name), at + 1)).collect();
        let (select, matches) = (select.join(", "), matches.join(" and "));
        Ok(Self::of_each(&format!("select {select} {from} where {matches}"), keys, config.rows))
    }

    async fn of_query(
        client: &Client,
        query: &str,
        config: &PostgresLookupConfig,
        key_columns: &[String],
    ) -> Result<Self, Error> {
        let query = query.trim_end().trim_end_matches(';');
        let mut used = vec![false; key_columns.len()];
        let numbered = replaced(query, quoted_length, |name| {
            let position = key_columns.iter().position(|column| column == name);
            let position = position.ok_or_else(|| unknown("key column for the parameter", name, key_columns))?;
            used[position] = true;
            Ok(format!("${}", position + 1))
        })?;
        if let Some(unused) = used.iter().position(|used| !used) {
            let name = &key_columns[unused];
            let message = format!("the query does not use the key column \"{name}\"; put ${name} in its `where`");
            return Err(Error::new(ErrorKind::Config, message));
        }
        // By itself first: the server says of which types the parameters are, and what is wrong in the user's own words.
        let failed = |error| postgres_error("cannot prepare the query", error);
        let statement = client.prepare(&numbered).await.map_err(failed)?;
        if statement.columns().is_empty() {
            let message = "the query gives no rows back; a lookup needs a `select`";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let keys: Vec<_> = statement.params().iter().map(KeyType::of_parameter).collect();
        let inner = replaced(query, quoted_length, |name| {
            let position = key_columns.iter().position(|column| column == name).unwrap_or_default();
            Ok::<_, Error>(format!("inflight_keys.k{}", position + 1))
        })?;
        Ok(Self::of_each(&inner, keys, config.rows))
    }

    /// A statement that does a `select` for each of the keys, which are `inflight_keys.k1` and so on in it.
    fn of_each(select: &str, keys: Vec<KeyType>, rows: Rows) -> Self {
        let arrays: Vec<_> = keys.iter().enumerate().map(|(at, of)| of.array(at + 1)).collect();
        let names: String = (1..=keys.len()).map(|number| format!("k{number}, ")).collect();
        let most = rows.asked_for();
        // The line ends keep a comment at the end of the query to itself.
        let sql = format!(
            "select inflight_rows.*, inflight_keys.n as inflight_key from unnest({}) with ordinality \
             as inflight_keys ({names}n), lateral (select * from (\n{select}\n) as inflight_select limit {most}) \
             as inflight_rows",
            arrays.join(", ")
        );
        Self { sql, keys, tells: Tells::Number, told_in: None }
    }
}

/// The same statement with the values of types that are not read here as JSON, if there are such.
fn converted(sql: &str, statement: &Statement) -> Option<String> {
    if statement.columns().iter().all(|column| is_read(column.type_())) {
        return None;
    }
    let columns = statement.columns().iter().map(|column| match (quoted(column.name()), is_read(column.type_())) {
        (name, true) => name,
        (name, false) => format!("to_json({name}) as {name}"),
    });
    Some(format!("select {} from ({sql}) as inflight_answers", columns.collect::<Vec<_>>().join(", ")))
}

/// All of them, or all but the last.
fn answer_columns(statement: &Statement, is_all: bool) -> Result<Vec<String>, Error> {
    let mut columns: Vec<String> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    columns.truncate(columns.len() - usize::from(!is_all));
    match columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
        None => Ok(columns),
        Some((_, twice)) => {
            let message = format!("the query answers with two columns \"{twice}\"; rename one with `as`");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

fn unread(error: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("cannot read an answer: {error}")).caused_by(error)
}

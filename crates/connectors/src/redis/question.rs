//! The commands that ask for many names at once.

use std::borrow::Cow;

use redis::{Cmd, RedisResult, Value, cmd};

use super::answer;
use super::connect::Link;
use super::{RedisLookupConfig, RedisValue};
use crate::template::{Template, all_used};
use crate::{Answer, Error, Key};

/// What is asked for, and how it is read.
#[derive(Debug)]
pub(super) struct Question {
    name: Template,
    what: What,
    value: RedisValue,
}

#[derive(Debug)]
enum What {
    String,
    /// These fields of a hash.
    Fields(Vec<String>),
    /// A hash with all its fields.
    Hash,
}

impl Question {
    pub(super) fn new(config: &RedisLookupConfig, key_columns: &[String]) -> Result<Self, Error> {
        let (option, text, what) = match (&config.get, &config.fields) {
            (Some(_), _) => ("get", &config.get, What::String),
            (None, Some(fields)) => ("hash", &config.hash, What::Fields(fields.clone())),
            (None, None) => ("hash", &config.hash, What::Hash),
        };
        let name = Template::parse(option, text.as_deref().unwrap_or_default(), key_columns)?;
        all_used(key_columns, |index| name.has(index), &format!("`{option}`"))?;
        Ok(Self { name, what, value: config.value() })
    }

    /// The name that a key stands for; none when a value in it is null.
    pub(super) fn name(&self, key: &Key) -> Result<Option<String>, Error> {
        self.name.fill(key, |text| Cow::Borrowed(text))
    }

    /// What the names hold, in their order.
    pub(super) async fn ask(&self, link: &Link, names: &[String]) -> RedisResult<Result<Vec<Answer>, Error>> {
        match &self.what {
            What::String => self.strings(link, names).await,
            What::Fields(fields) => {
                let found = link.ask_all(names.iter().map(|name| all(with("HMGET", name), fields)).collect()).await?;
                let answers = found.into_iter().zip(names);
                Ok(Ok(answers.map(|(found, name)| answer::fields(found, fields, name, self.value)).collect()))
            }
            What::Hash => {
                let found = link.ask_all(names.iter().map(|name| with("HGETALL", name)).collect()).await?;
                Ok(Ok(found
                    .into_iter()
                    .zip(names)
                    .map(|(found, name)| answer::hash(found, name, self.value))
                    .collect()))
            }
        }
    }

    async fn strings(&self, link: &Link, names: &[String]) -> RedisResult<Result<Vec<Answer>, Error>> {
        let found = match link.ask(&all(cmd("MGET"), names)).await? {
            Value::Array(found) if found.len() == names.len() => found,
            other => return Ok(Err(answer::unexpected(other))),
        };
        let nils: Vec<usize> = (0..found.len()).filter(|index| found[*index] == Value::Nil).collect();
        let string = |(found, name): (Value, &String)| answer::string(found, name, self.value);
        let mut answers: Vec<Answer> = found.into_iter().zip(names).map(string).collect();
        // What is no string is nil to MGET as well: only what does not exist is missing.
        let unsure: Vec<&str> = nils.iter().map(|index| names[*index].as_str()).collect();
        if unsure.is_empty() || link.ask(&all(cmd("EXISTS"), &unsure)).await? == Value::Int(0) {
            return Ok(Ok(answers));
        }
        let again = link.ask_all(unsure.iter().map(|name| with("GET", name)).collect()).await?;
        for (index, found) in nils.into_iter().zip(again) {
            answers[index] = answer::string(found, &names[index], self.value);
        }
        Ok(Ok(answers))
    }
}

fn with(command: &str, name: &str) -> Cmd {
    let mut command = cmd(command);
    command.arg(name);
    command
}

fn all(mut command: Cmd, texts: &[impl AsRef<str>]) -> Cmd {
    texts.iter().for_each(|text| {
        command.arg(text.as_ref());
    });
    command
}

//! The command line: words, and options that take a value.

use std::collections::BTreeMap;
use std::io;
use std::str::FromStr;

/// A split command line.
#[derive(Debug, Default)]
pub struct Args {
    /// What is not an option, in order.
    pub words: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Args {
    /// Splits `args`; every `--name` takes the word after it as its value, and must be one of
    /// `known`.
    pub fn parse(args: impl Iterator<Item = String>, known: &[&str]) -> io::Result<Self> {
        let mut args = args.peekable();
        let mut split = Self::default();
        while let Some(word) = args.next() {
            match word.strip_prefix("--") {
                Some(name) if known.contains(&name) => {
                    let value = args
                        .next()
                        .ok_or_else(|| bad(format!("--{name} needs a value")))?;
                    split.options.insert(name.to_owned(), value);
                }
                Some(_) => return Err(bad(format!("unknown option {word}"))),
                None => split.words.push(word),
            }
        }
        Ok(split)
    }

    /// The value of `--name`, or `default` where it was not given.
    pub fn option<T: FromStr>(&self, name: &str, default: T) -> io::Result<T> {
        match self.options.get(name) {
            Some(text) => text
                .parse()
                .map_err(|_| bad(format!("--{name} cannot be {text:?}"))),
            None => Ok(default),
        }
    }

    /// The value of `--name`; an error where it was not given.
    pub fn required<T: FromStr>(&self, name: &str) -> io::Result<T> {
        let text = self
            .options
            .get(name)
            .ok_or_else(|| bad(format!("--{name} is missing")))?;
        text.parse()
            .map_err(|_| bad(format!("--{name} cannot be {text:?}")))
    }

    /// The text of `--name`, where it was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

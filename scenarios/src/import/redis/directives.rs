//! The lines of `redis.conf` and `sentinel.conf` (`loadServerConfigFromString`, `sdssplitargs`): a directive and its
//! arguments, apart by spaces; `#` begins a comment at the start of a line only; text in quotes is one argument.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Source, Spot, UserError};

/// A line with a directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Directive {
    /// Its name in small letters, as Redis compares it.
    pub(super) name: String,
    /// What stands behind it.
    pub(super) arguments: Vec<Word>,
    /// Where the line stands, without its end.
    pub(super) span: Range<usize>,
}

/// An argument.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// All directives of a file.
///
/// # Errors
/// Quotes that do not end.
pub(super) fn read(source: &Arc<Source>) -> Result<Vec<Directive>, UserError> {
    let mut directives = Vec::new();
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let text = line.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let indent = line.len() - line.trim_start().len();
            let span = start + indent..start + indent + text.len();
            let mut words = split(source, text, span.start)?;
            if !words.is_empty() {
                let name = words.remove(0).text.to_ascii_lowercase();
                directives.push(Directive { name, arguments: words, span });
            }
        }
        start += line.len();
    }
    Ok(directives)
}

/// The words of a line that begins at this byte.
fn split(source: &Arc<Source>, line: &str, start: usize) -> Result<Vec<Word>, UserError> {
    let mut words = Vec::new();
    let mut characters = line.char_indices().peekable();
    while let Some(&(begin, first)) = characters.peek() {
        if first.is_whitespace() {
            characters.next();
            continue;
        }
        let mut text = String::new();
        let mut end = begin;
        let mut quote = None;
        while let Some(&(at, character)) = characters.peek() {
            if quote.is_none() && character.is_whitespace() {
                break;
            }
            characters.next();
            end = at + character.len_utf8();
            match (quote, character) {
                (None, '"' | '\'') => quote = Some(character),
                (Some('"'), '\\') => {
                    let escaped = characters.next().map(|(_, escaped)| escaped);
                    text.push(unescape(escaped, &mut characters));
                }
                (Some('\''), '\\') if matches!(characters.peek(), Some((_, '\''))) => {
                    characters.next();
                    text.push('\'');
                }
                (Some(open), close) if open == close => {
                    let follows = characters.peek().map(|(_, next)| *next);
                    if follows.is_some_and(|next| !next.is_whitespace()) {
                        return Err(unbalanced(source, start + begin..start + end));
                    }
                    quote = None;
                }
                (_, _) => text.push(character),
            }
        }
        if quote.is_some() {
            return Err(unbalanced(source, start + begin..start + end));
        }
        words.push(Word { text, span: start + begin..start + end });
    }
    Ok(words)
}

/// A character behind a backslash between double quotes.
fn unescape(escaped: Option<char>, rest: &mut std::iter::Peekable<std::str::CharIndices<'_>>) -> char {
    match escaped {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('b') => '\u{8}',
        Some('a') => '\u{7}',
        Some('x') => {
            let digits: String = rest.clone().take(2).map(|(_, digit)| digit).collect();
            match u8::from_str_radix(&digits, 16) {
                Ok(byte) if digits.len() == 2 => {
                    rest.next();
                    rest.next();
                    char::from(byte)
                }
                _ => 'x',
            }
        }
        Some(other) => other,
        None => '\\',
    }
}

fn unbalanced(source: &Arc<Source>, span: Range<usize>) -> UserError {
    UserError::at(Spot::new(source, span), "unbalanced quotes", "Redis does not start with this line")
        .help("a closing quote is followed by a space or the end of the line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        let source = Source::new(
            "redis.conf",
            "# comment\n  Save 900 1\nrequirepass \"a b\\x41\\\"\"\nlogfile ''\nuser 'it\\'s'  x#y\n",
        );
        let read = read(&source).unwrap();
        let plain: Vec<(&str, Vec<&str>)> = read
            .iter()
            .map(|line| {
                let words = line.arguments.iter().map(|word| word.text.as_str()).collect();
                (line.name.as_str(), words)
            })
            .collect();
        assert_eq!(
            plain,
            [
                ("save", vec!["900", "1"]),
                ("requirepass", vec!["a bA\""]),
                ("logfile", vec![""]),
                ("user", vec!["it's", "x#y"]),
            ]
        );
        assert_eq!(&source.text[read[0].arguments[0].span.clone()], "900");
    }

    #[test]
    fn quotes_that_do_not_end_are_refused_with_their_place() {
        for text in ["dir \"/var", "dir 'a'b", "dir \"a\"b"] {
            let error = read(&Source::new("redis.conf", text)).unwrap_err();
            assert!(error.spot().is_some() && error.message().contains("unbalanced"), "{text}");
        }
    }
}

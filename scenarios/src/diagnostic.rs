//! Errors and warnings for people: where it is, what it says, what was expected, what to do.
//!
//! A [`UserError`] is the only error that leaves this crate for the terminal. It either points into a [`Source`] (a
//! file, or the text of a flag) or stands alone. All of them end the command with exit code 64. Bugs are not user
//! errors: they panic.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

/// A text that positions refer to: a file, or what stands after a flag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// What it is called in messages, such as `patroni.yml` or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A text with a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column of a byte position, both counted from 1; columns count characters.
    pub fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let byte = (0..=byte.min(self.text.len()))
            .rev()
            .find(|position| self.text.is_char_boundary(*position))
            .unwrap_or(0);
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The byte position of a line and column, both counted from 1. What lies outside is moved to the nearest end.
    pub fn byte_at(&self, line: usize, column: usize) -> usize {
        let start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = self.text[start..].lines().next().unwrap_or_default();
        let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(byte, _)| byte);
        start + within
    }
}

/// A place in a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spot {
    /// Where the text is from.
    pub source: Arc<Source>,
    /// The bytes it covers.
    pub span: Range<usize>,
}

impl Spot {
    /// These bytes of the source.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }
}

impl fmt::Display for Spot {
    /// `file:line:column`, as editors and terminals make clickable.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.line_and_column(self.span.start);
        write!(formatter, "{}:{line}:{column}", self.source.name)
    }
}

/// What a person got wrong, or what the machine refused them (an unreadable file). Boxed inside, so that results stay
/// small.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserError(Box<Parts>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Parts {
    message: String,
    label: String,
    help: Option<String>,
    spot: Option<Spot>,
}

impl UserError {
    /// An error without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts { message: message.into(), label: String::new(), help: None, spot: None }))
    }

    /// An error at a place; the label says what stands there or what was expected.
    pub fn at(spot: Spot, message: impl Into<String>, label: impl Into<String>) -> Self {
        let mut error = Self::new(message);
        error.0.label = label.into();
        error.0.spot = Some(spot);
        error
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// What to do about it, if anything is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.0.help = help.or(self.0.help);
        self
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it is.
    pub fn spot(&self) -> Option<&Spot> {
        self.0.spot.as_ref()
    }

    /// The whole report as shown in a terminal, with the source line; colours only if asked for.
    pub fn report(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110);
        if handler.render_report(&mut text, self).is_err() {
            text = self.to_string();
        }
        text
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(spot) = &self.0.spot {
            write!(formatter, "{spot}: ")?;
        }
        formatter.write_str(&self.0.message)
    }
}

impl std::error::Error for UserError {}

impl Diagnostic for UserError {
    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let spot = self.0.spot.as_ref()?;
        let length = spot.span.end.saturating_sub(spot.span.start);
        let label = (!self.0.label.is_empty()).then(|| self.0.label.clone());
        let span = LabeledSpan::new(label, spot.span.start, length);
        Some(Box::new(std::iter::once(span)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.spot.as_ref().map(|spot| &*spot.source as &dyn SourceCode)
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let named = self.text.read_span(span, before, after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.name.clone(),
            named.data(),
            *named.span(),
            named.line(),
            named.column(),
            named.line_count(),
        )))
    }
}

/// How much a remark weighs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Weight {
    /// Good to know: a key that hasim does not model.
    Note,
    /// Probably not what was meant: a misspelt key, a value that Patroni changes.
    Warning,
}

/// A remark about a file that does not stop anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// How much it weighs.
    pub weight: Weight,
    /// Where it is.
    pub spot: Spot,
    /// What it says.
    pub message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Note => "note",
            Weight::Warning => "warning",
        };
        write!(formatter, "{}: {weight}: {}", self.spot, self.message)
    }
}

/// The known name closest to what was written, if it is close enough to be meant.
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| {
            let likeness = strsim::jaro_winkler(written, name);
            let one_slip = name.len() > 2 && strsim::osa_distance(written, name) == 1;
            (if one_slip { likeness + 1.0 } else { likeness }, name)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `did you mean ...?` for [`closest`].
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(written, known).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let source = Source::new("f", "é: 1\nab: 2\n");
        assert_eq!(source.line_and_column(0), (1, 1));
        assert_eq!(source.line_and_column(2), (1, 2));
        assert_eq!(source.line_and_column(6), (2, 1));
        assert_eq!(source.line_and_column(1_000), (3, 1));
        assert_eq!([source.byte_at(1, 2), source.byte_at(2, 1), source.byte_at(9, 9)], [2, 6, 12]);
    }

    #[test]
    fn misspelt_names_find_the_nearest() {
        assert_eq!(closest("loop_wiat", ["ttl", "loop_wait"]), Some("loop_wait"));
        assert_eq!(closest("tll", ["ttl", "loop_wait"]), Some("ttl"));
        assert_eq!(closest("zzz", ["ttl", "loop_wait"]), None);
    }
}

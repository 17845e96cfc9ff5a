//! The functions and filters that `transformers` adds to Jinja.

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::io::{Result, Write};

/// The fixed date that `strftime_now` returns: a template may write the date, and the same seed
/// must give the same tokens on any day. It is the default date of Llama 3's template.
const YEAR: u32 = 2024;
const MONTH: (u32, &str) = (7, "July");
const DAY: (u32, &str) = (26, "Friday");
const DAY_OF_YEAR: u32 = 208;

/// Adds the functions and filters.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: String| strftime(&format));
    environment.add_filter("tojson", to_json);
    environment.add_filter("mark_generation", mark_generation);
}

/// The marks around the assistant's text: private-use characters, which do not occur in texts.
pub(super) const MARKS: [char; 2] = ['\u{F0001}', '\u{F0002}'];

/// What replaces `{% generation %}`, the block around the assistant's text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Generation {
    /// Nothing.
    Plain,
    /// [`MARKS`] around its content.
    Marked,
}

/// The source of a template with `{% generation %}` replaced, and whether it has any. The
/// replacements are block tags too, so that white space around them is treated alike.
pub(super) fn replace_generation(source: &str, by: Generation) -> (String, bool) {
    let (open, close) = match by {
        Generation::Plain => ("if true", "endif"),
        Generation::Marked => ("filter mark_generation", "endfilter"),
    };
    let mut text = String::with_capacity(source.len());
    let (mut rest, mut found) = (source, false);
    while let Some(start) = rest.find("{%") {
        let end = rest[start..]
            .find("%}")
            .map_or(rest.len(), |end| start + end + 2);
        let tag = &rest[start..end];
        let word = tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\n', '\t']);
        text.push_str(&rest[..start]);
        match word {
            "generation" => text.push_str(&tag.replace("generation", open)),
            "endgeneration" => text.push_str(&tag.replace("endgeneration", close)),
            _ => text.push_str(tag),
        }
        found |= word == "generation";
        rest = &rest[end..];
    }
    (text + rest, found)
}

fn mark_generation(text: String) -> String {
    let [open, close] = MARKS;
    format!("{open}{text}{close}")
}

fn raise_exception(message: String) -> std::result::Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The directives of C's `strftime` that templates use.
fn strftime(format: &str) -> String {
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        text += &match characters.next() {
            Some('Y') => YEAR.to_string(),
            Some('y') => format!("{:02}", YEAR % 100),
            Some('m') => format!("{:02}", MONTH.0),
            Some('B') => MONTH.1.to_string(),
            Some('b') => MONTH.1[..3].to_string(),
            Some('d' | 'e') => format!("{:02}", DAY.0),
            Some('A') => DAY.1.to_string(),
            Some('a') => DAY.1[..3].to_string(),
            Some('j') => DAY_OF_YEAR.to_string(),
            Some('H' | 'I' | 'M' | 'S') => "00".into(),
            Some('%') => "%".into(),
            Some(other) => format!("%{other}"),
            None => "%".into(),
        };
    }
    text
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: &Value, options: Kwargs) -> std::result::Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    for ignored in ["ensure_ascii", "sort_keys"] {
        let _: Option<bool> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let error = |error: serde_json::Error| {
        Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error)
    };
    let mut bytes = Vec::new();
    match indent {
        Some(width) => {
            let blanks = " ".repeat(width);
            let pretty = PrettyFormatter::with_indent(blanks.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut bytes, pretty);
            value.serialize(&mut writer).map_err(error)?;
        }
        None => {
            let (comma, colon) = match separators.as_deref() {
                Some([comma, colon]) => (comma.clone(), colon.clone()),
                _ => (", ".into(), ": ".into()),
            };
            let spaced = Spaced { comma, colon };
            let mut writer = serde_json::Serializer::with_formatter(&mut bytes, spaced);
            value.serialize(&mut writer).map_err(error)?;
        }
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    Ok(Value::from_safe_string(text))
}

/// JSON on one line with these separators.
struct Spaced {
    comma: String,
    colon: String,
}

impl Spaced {
    fn separate<W: ?Sized + Write>(&self, writer: &mut W, first: bool) -> Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(self.comma.as_bytes())
        }
    }
}

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        writer.write_all(self.colon.as_bytes())
    }
}

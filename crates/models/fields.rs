//! Typed access to the fields of a `config.json`, with messages that name them.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

const MOST_LAYERS: usize = 1 << 12;

/// The fields of a JSON object of `config.json`. It notes which of them were asked for, so that one that
/// was not honoured can be named.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What precedes the names of the fields in messages: the field that holds the object.
    within: String,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    /// The fields of an object.
    #[must_use]
    pub fn new(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            within: String::new(),
            asked: RefCell::default(),
        }
    }

    /// A field's value, unless it is absent or null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// The name of a field in messages.
    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.within)
    }

    /// The fields of an object, unless it is absent, null or empty.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn object(&self, key: &str) -> Result<Option<Self>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let object = value
            .as_object()
            .ok_or_else(|| format!("{} = {value} is not an object", self.path(key)))?;
        Ok((!object.is_empty()).then(|| Self {
            object,
            within: format!("{}.", self.path(key)),
            asked: RefCell::default(),
        }))
    }

    /// The fields that have a value and were not asked for.
    pub fn not_asked(&self) -> impl Iterator<Item = (String, &'a Value)> {
        let asked = self.asked.borrow().clone();
        let present = self.object.iter().filter(|(_, value)| !value.is_null());
        let rest = present.filter(move |(key, _)| !asked.contains(*key));
        rest.map(|(key, value)| (key.clone(), value))
    }

    /// The first of transformers' classes that the file names.
    #[must_use]
    pub fn class(&self) -> Option<&'a str> {
        let classes = self.get("architectures")?.as_array()?;
        classes.first()?.as_str()
    }

    /// A number of layers.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn layers(&self, key: &str, default: usize) -> Result<usize, String> {
        let layers = self.positive(key, default)?;
        if layers > MOST_LAYERS {
            return Err(format!(
                "{} = {layers} is more than the {MOST_LAYERS} that are supported",
                self.path(key)
            ));
        }
        Ok(layers)
    }

    /// A whole number above 0.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn positive(&self, key: &str, default: usize) -> Result<usize, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_u64() {
                // No checkpoint has larger sizes, and products would overflow.
                Some(number) if (1..1 << 24).contains(&number) => Ok(number as usize),
                _ => Err(format!(
                    "{} = {value} is not a positive whole number of sane size",
                    self.path(key)
                )),
            },
        }
    }

    /// A number.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn number(&self, key: &str, default: f64) -> Result<f64, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_f64()
            .ok_or_else(|| format!("{} = {value} is not a number", self.path(key)))
    }

    /// A number above 0 that must be there.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn required_above_zero(&self, key: &str) -> Result<f64, String> {
        if self.get(key).is_none() {
            return Err(format!("{} is missing", self.path(key)));
        }
        self.above_zero(key, 1.0)
    }

    /// A number above 0.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn above_zero(&self, key: &str, default: f64) -> Result<f64, String> {
        let number = self.number(key, default)?;
        if number > 0.0 && number.is_finite() {
            Ok(number)
        } else {
            Err(format!("{} = {number} is not above 0", self.path(key)))
        }
    }

    /// The ε of a norm.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn epsilon(&self, key: &str, default: f64) -> Result<f32, String> {
        let epsilon = self.number(key, default)?;
        if epsilon > 0.0 && epsilon < 1.0 {
            Ok(epsilon as f32)
        } else {
            Err(format!(
                "{} = {epsilon} is not between 0 and 1",
                self.path(key)
            ))
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_bool()
            .ok_or_else(|| format!("{} = {value} is not true or false", self.path(key)))
    }

    /// A string.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| format!("{} = {value} is not a string", self.path(key)))
    }

    /// A list of words, one a layer.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn words(&self, key: &str, layers: usize) -> Result<Option<Vec<&'a str>>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let words = value.as_array().and_then(|all| {
            let words = all.iter().map(Value::as_str);
            words.collect::<Option<Vec<_>>>()
        });
        match words.filter(|words| words.len() == layers) {
            Some(words) => Ok(Some(words)),
            None => Err(format!(
                "{} = {value} is not a list of {layers} words, one a layer",
                self.path(key)
            )),
        }
    }

    /// A token id; one beyond the vocabulary (the library's default 50256 on a small model) counts
    /// as none.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn token(&self, key: &str, vocab: usize) -> Result<Option<u32>, String> {
        match self.tokens(key, vocab)?[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(format!(
                "{} = {} is not one token id",
                self.path(key),
                self.object[key]
            )),
        }
    }

    /// Token ids, one or a list; those beyond the vocabulary are left out.
    ///
    /// # Errors
    /// A message that names the field, if its value is something else.
    pub fn tokens(&self, key: &str, vocab: usize) -> Result<Vec<u32>, String> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let all = match value.as_array() {
            Some(all) => all.as_slice(),
            None => std::slice::from_ref(value),
        };
        let mut ids = Vec::with_capacity(all.len());
        for one in all {
            let wrong = || {
                let key = self.path(key);
                format!("{key} = {value} is neither a token id nor a list of them")
            };
            let id = one.as_u64().ok_or_else(wrong)?;
            if id < vocab as u64 && !ids.contains(&(id as u32)) {
                ids.push(id as u32);
            }
        }
        Ok(ids)
    }
}

//! YAML as people write it: byte-order marks, merge keys, text that looks like a number.

use serde_yaml::{Error, Mapping, Value};

use crate::Config;

/// Reads a config. Errors carry line and column.
pub(crate) fn from_text(text: &str) -> Result<Config, Error> {
    // Editors on Windows put it there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Straight from the text first, and again for errors: only these know the line.
    let error = match serde_yaml::from_str(text) {
        Ok(config) => return Ok(config),
        Err(error) if !text.contains("<<") => return Err(error),
        Err(error) => error,
    };
    let plain: Value = serde_yaml::from_str(text)?;
    let mut merged = plain.clone();
    merged.apply_merge()?;
    if merged == plain { Err(error) } else { from_value(merged) }
}

/// Reads a config from a tree of values. A number or a truth value is taken as text where text is wanted, as it is in a file.
pub(crate) fn from_value(value: Value) -> Result<Config, Error> {
    let text = serde_yaml::to_string(&value)?;
    serde_yaml::from_value(value).or_else(|error| serde_yaml::from_str(&text).map_err(|_| error))
}

/// Makes one change to a tree that is a config: `keys` lead to `value`, which was written as `text`. If only the text fits
/// there, as `007` in the place of a name, the text is taken.
///
/// # Errors
/// What is wrong with the keys.
pub(crate) fn change(tree: &mut Value, keys: &[String], value: &Value, text: &str) -> Result<(), String> {
    let with = |value: Value| -> Result<(Value, bool), String> {
        let mut changed = tree.clone();
        set(&mut changed, keys, value)?;
        let fits = serde_yaml::from_value::<Config>(changed.clone()).is_ok();
        Ok((changed, fits))
    };
    let (typed, fits) = with(value.clone())?;
    *tree = match with(Value::String(text.trim().to_owned()))? {
        (as_text, true) if !fits => as_text,
        _ => typed,
    };
    Ok(())
}

fn set(value: &mut Value, keys: &[String], to: Value) -> Result<(), String> {
    let (first, rest) = keys.split_first().ok_or("empty key")?;
    let slot = match value {
        Value::Sequence(items) => {
            let n = items.len();
            let i: usize = first.parse().map_err(|_| format!("`{first}` is no index into a list of {n}"))?;
            items.get_mut(i).ok_or_else(|| format!("index {i} is beyond a list of {n}"))?
        }
        Value::Mapping(map) => map.entry(Value::String(first.clone())).or_insert(Value::Null),
        Value::Null => {
            *value = Value::Mapping(Mapping::new());
            return set(value, keys, to);
        }
        _ => return Err(format!("`{first}` is below a plain value")),
    };
    if rest.is_empty() {
        *slot = to;
        Ok(())
    } else {
        set(slot, rest, to)
    }
}

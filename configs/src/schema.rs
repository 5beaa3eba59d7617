//! The JSON schema of a config, and the bounds on numbers that it states.
//!
//! Each bound stands once, as an attribute of its field. Validation reads it here, and so does the generator of the
//! reference (`examples/config_reference`).

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;
use serde_yaml::Value;

use crate::Config;

/// A dotted key, and what is wrong with its value and what to do.
pub(crate) type Problem = (Cow<'static, str>, String);

/// Returns the JSON schema (draft 2020-12) of a recipe. Types with a name of their own are under `$defs`.
pub fn schema() -> Json {
    schemars::schema_for!(Config).to_value()
}

/// The bounds on a number: `minimum`, `exclusiveMinimum`, `maximum` and `exclusiveMaximum` of its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The lowest value allowed.
    pub min: Option<f64>,
    /// The number that values are above.
    pub above: Option<f64>,
    /// The highest value allowed.
    pub max: Option<f64>,
    /// The number that values are below.
    pub below: Option<f64>,
}

impl Bounds {
    /// Reads the bounds out of the schema of a number.
    pub fn of(schema: &Json) -> Self {
        let number = |key: &str| schema.get(key).and_then(Json::as_f64);
        Self {
            min: number("minimum"),
            above: number("exclusiveMinimum"),
            max: number("maximum"),
            below: number("exclusiveMaximum"),
        }
    }

    /// Whether `value` is finite and within the bounds.
    pub fn allow(&self, value: f64) -> bool {
        value.is_finite()
            && self.min.is_none_or(|min| value >= min)
            && self.above.is_none_or(|above| value > above)
            && self.max.is_none_or(|max| value <= max)
            && self.below.is_none_or(|below| value < below)
    }
}

/// Such as `from 1 to 8192`, `above 0`, `at least 0 and below 1`; `finite` if there is no bound.
impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(min), Some(max)) = (self.min, self.max) {
            return write!(f, "from {min} to {max}");
        }
        let parts = [("at least", self.min), ("above", self.above), ("at most", self.max), ("below", self.below)];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(word, bound)| Some(format!("{word} {}", bound?))).collect();
        f.write_str(if parts.is_empty() { "finite" } else { "" })?;
        f.write_str(&parts.join(" and "))
    }
}

/// Finds the first number in `value` outside the bounds that the schema of `T` states. `at` is the dotted key of `value`.
pub(crate) fn check<T: JsonSchema + Serialize>(at: &str, value: &T) -> Result<(), Problem> {
    let schema = schemars::schema_for!(T).to_value();
    // Structs, enums without data, lists and scalars: all of them are YAML.
    let value = serde_yaml::to_value(value).map_err(|e| (at.to_owned().into(), e.to_string()))?;
    walk(&schema, &schema, at, &value)
}

fn walk(root: &Json, schema: &Json, at: &str, value: &Value) -> Result<(), Problem> {
    let schema = resolve(root, schema);
    let problem = |message: String| Err((at.to_owned().into(), message));
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Number(number) => {
            let (value, bounds) = (number.as_f64().unwrap_or(f64::NAN), Bounds::of(schema));
            if !bounds.allow(value) {
                return problem(format!("is {value}; it must be {bounds}"));
            }
        }
        Value::Sequence(values) => {
            let Some(items) = schema.get("items") else { return Ok(()) };
            if let (Some(bounds), [low, high]) = (pair(schema), values.as_slice()) {
                let [low, high] = [low, high].map(|v| v.as_f64().unwrap_or(f64::NAN));
                if !(low <= high && bounds.allow(low) && bounds.allow(high)) {
                    return problem(format!("is [{low}, {high}]; it must be low, high, {bounds}"));
                }
                return Ok(());
            }
            let length = |key: &str| schema.get(key).and_then(Json::as_u64).map(|n| n as f64);
            let bounds = Bounds { min: length("minItems"), max: length("maxItems"), ..Bounds::default() };
            if !bounds.allow(values.len() as f64) {
                return problem(format!("has {} entries; there must be {bounds}", values.len()));
            }
            for (i, value) in values.iter().enumerate() {
                walk(root, items, &below(&i.to_string()), value)?;
            }
        }
        Value::Mapping(fields) => {
            for (key, value) in fields {
                let key = key.as_str().unwrap_or_default();
                if let Some(schema) = schema.get("properties").and_then(|properties| properties.get(key)) {
                    walk(root, schema, &below(key), value)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Follows `$ref` into `$defs`.
pub fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let name = schema.get("$ref").and_then(Json::as_str).and_then(|to| to.strip_prefix("#/$defs/"));
    name.and_then(|name| root.get("$defs")?.get(name)).unwrap_or(schema)
}

/// Returns the bounds on both numbers if the schema is that of a [`Range`](crate::synthesis::Range): `[low, high]`.
pub fn pair(schema: &Json) -> Option<Bounds> {
    let length = |key: &str| schema.get(key).and_then(Json::as_u64);
    let items = schema.get("items")?;
    let numbers = items.get("type").and_then(Json::as_str) == Some("number");
    (numbers && length("minItems") == Some(2) && length("maxItems") == Some(2)).then(|| Bounds::of(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_allow_what_they_say() {
        let of = |text: &str| Bounds::of(&serde_json::from_str(text).unwrap());
        for (schema, words, inside, outside) in [
            (r#"{"minimum": 1, "maximum": 8192}"#, "from 1 to 8192", [1.0, 8192.0], [0.0, 8193.0]),
            (r#"{"exclusiveMinimum": 0}"#, "above 0", [0.1, 1e9], [0.0, f64::INFINITY]),
            (r#"{"minimum": 0, "exclusiveMaximum": 1}"#, "at least 0 and below 1", [0.0, 0.9], [-0.1, 1.0]),
            ("{}", "finite", [-1e9, 1e9], [f64::NAN, f64::INFINITY]),
        ] {
            let bounds = of(schema);
            assert_eq!(bounds.to_string(), words);
            assert!(inside.iter().all(|v| bounds.allow(*v)) && !outside.iter().any(|v| bounds.allow(*v)), "{words}");
        }
    }
}

//! Values, defaults and names of the schema, in words.

use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

/// What is there if a recipe says nothing; and if it says something of the section but nothing of this key, should that differ.
pub fn default(property: &Json, must: bool, value: Option<&Yaml>, section: Option<&str>) -> String {
    let alone = property.get("default").filter(|value| !value.is_null()).map(|json| shown(&to_plain(json)));
    let whole = value.filter(|value| *value != &Yaml::from("")).map(shown);
    match (must, whole, alone, section) {
        (true, Some(whole), _, Some(section)) if whole != "[]" => {
            format!("default `{whole}`, but it must be given if `{section}` is")
        }
        (true, ..) => "must be given".into(),
        (false, Some(whole), alone, Some(section)) if alone.as_ref() != Some(&whole) => {
            let alone = alone.map_or("unset".into(), |alone| format!("`{alone}`"));
            format!("default `{whole}`, but {alone} if `{section}` is given without it")
        }
        (false, Some(text), ..) | (false, None, Some(text), None) => format!("default `{text}`"),
        (false, None, ..) if property["type"] == "array" => "default `[]`".into(),
        (false, None, ..) => "default unset".into(),
    }
}

fn to_plain(json: &Json) -> Yaml {
    serde_yaml::to_value(json).expect("YAML")
}

/// A value as it may stand in a recipe.
fn shown(value: &Yaml) -> String {
    match value {
        Yaml::Sequence(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Yaml::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or_default();
            if value == 0.0 || value.abs() >= 1e-3 {
                return value.to_string();
            }
            // Some YAML readers take a number without a point for text.
            let text = format!("{value:e}");
            if text.contains('.') { text } else { text.replacen('e', ".0e", 1) }
        }
        Yaml::String(text) => text.clone(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
    }
}

/// The values of an enum, each with what it means.
pub fn values(schema: &Json) -> Vec<(&str, String)> {
    let variants = schema.get("oneOf").and_then(Json::as_array).into_iter().flatten();
    variants.filter_map(|variant| Some((variant["const"].as_str()?, description(variant)))).collect()
}

pub fn description(schema: &Json) -> String {
    flat(schema["description"].as_str().unwrap_or_default())
}

pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `DegradationKind` as `degradation kind`.
pub fn words(name: &str) -> String {
    let mut words = String::new();
    for (i, c) in name.chars().enumerate() {
        if i > 0 && c.is_uppercase() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

pub fn anchor(name: &str) -> String {
    words(name).replace(' ', "-")
}

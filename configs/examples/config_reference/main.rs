//! Writes the reference of all config keys (docs/config.md) to standard output: types, defaults, bounds and what they mean,
//! all taken from the schema.
//!
//! ```sh
//! cargo run --release -p defusion-config --example config_reference > docs/config.md
//! cargo run --release -p defusion-config --example config_reference -- --check  # fails if docs/config.md is not current
//! ```

mod words;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use defusion_config::Config;
use defusion_config::schema::{Bounds, pair, resolve, schema};
use serde_json::Value as Json;
use serde_yaml::Value as Yaml;
use words::{anchor, default, description, flat, values, words};

const HEAD: &str = "# Config reference

Generated from the schema by `configs/examples/config_reference`; do not edit.

A recipe is a YAML file, such as [configs/a100x8.yaml](../configs/a100x8.yaml). It names only what it changes; the defaults
below are the recipe of the paper (Defusion, CVPR 2025, arXiv 2506.16960) as far as it states one. Where it does not, they are
those of the reference implementation that is named, or else this project's. Unknown keys are errors.

`defusion-launch --set KEY=VALUE` changes one key by its dotted path, lists by index from 0: `--set diffusion.lr.base=2.0e-4`,
`--set data.datasets.0.weight=0.5`. `defusion-launch --dry-run` checks a recipe and shows what it comes to.
";

/// Enums with more values than this have a section of their own.
const SHORT: usize = 6;

fn main() -> ExitCode {
    let text = reference();
    if std::env::args().nth(1).as_deref() != Some("--check") {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "docs/config.md is not current: cargo run --release -p defusion-config --example config_reference > docs/config.md"
    );
    ExitCode::FAILURE
}

fn reference() -> String {
    let schema = schema();
    let defaults = to_yaml(&minimal());
    let order = to_yaml(&with_every_option());
    let mut reference = Reference { root: &schema, out: HEAD.to_owned(), long_enums: Vec::new() };
    reference.contents(&order);
    reference.section("", &schema, None, Some(&defaults), &order);
    for name in std::mem::take(&mut reference.long_enums) {
        reference.long_enum(&name);
    }
    reference.out
}

/// A config with nothing but the keys that must be given.
fn minimal() -> Config {
    serde_yaml::from_str("{name: '', run: '', data: {shards: '', datasets: []}}").expect("a config")
}

/// A config with all keys, from which their order is taken: a schema keeps none.
fn with_every_option() -> Config {
    let mut config = minimal();
    let text = || Some(String::new());
    (config.data.grounds.natural, config.data.grounds.charts, config.data.cache.dir) = (text(), text(), text());
    (config.tokenizer.perceptual_weights, config.tokenizer.pretrained) = (text(), text());
    (config.tokenizer.lr.min, config.tokenizer.step.activation_gib) = (Some(0.0), Some(1.0));
    config.tokenizer.disc_start = Some(0);
    config.diffusion.pretrained = text();
    config.diffusion.step.activation_gib = Some(1.0);
    let set = serde_yaml::from_str("{name: '', synthesize: [[]]}").expect("a dataset");
    (config.data.datasets, config.evaluation.datasets) = (vec![set], Vec::new());
    config.evaluation.datasets.clone_from(&config.data.datasets);
    config.cluster.hosts = vec![defusion_config::Host { name: String::new() }];
    config
}

fn to_yaml(config: &Config) -> Yaml {
    serde_yaml::to_value(config).expect("YAML")
}

struct Reference<'a> {
    root: &'a Json,
    out: String,
    /// Types of enums too long for a key's entry.
    long_enums: Vec<String>,
}

impl Reference<'_> {
    fn line(&mut self, text: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    fn contents(&mut self, order: &Yaml) {
        let keys = order.as_mapping().expect("sections").iter();
        let sections = keys.filter(|(_, value)| value.is_mapping()).filter_map(|(key, _)| key.as_str());
        let links: Vec<String> = sections.map(|name| format!("[{name}](#{name})")).collect();
        self.line(format_args!("\nSections: {}.\n\n## The run itself\n", links.join(", ")));
    }

    /// One struct: its plain keys, then its structs as sections of their own. `defaults` are the values that are there if a
    /// recipe says nothing.
    fn section(&mut self, at: &str, schema: &Json, doc: Option<&str>, defaults: Option<&Yaml>, order: &Yaml) {
        let schema = resolve(self.root, schema);
        if !at.is_empty() {
            let level = "#".repeat(2 + at.matches('.').count());
            self.line(format_args!("\n{level} {at}"));
            for text in doc.map(flat).into_iter().chain([description(schema)]) {
                self.line(format_args!("\n{text}"));
            }
        }
        let (mut sections, mut first) = (Vec::new(), true);
        for (key, order) in order.as_mapping().expect("a section") {
            let key = key.as_str().expect("a key");
            let below = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
            let property = &schema["properties"][key];
            let value = defaults.and_then(|values| values.get(key));
            if resolve(self.root, property).get("properties").is_some() {
                sections.push((below, property, value, order));
            } else {
                if std::mem::take(&mut first) && !at.is_empty() {
                    self.out.push('\n');
                }
                let must = schema["required"].as_array().is_some_and(|all| all.iter().any(|name| name == key));
                let section = defaults.map(|_| at);
                self.key(&below, property, &default(property, must, value, section));
                self.keys_of_entries(&below, property, order);
            }
        }
        for (below, property, value, order) in sections {
            // Of a struct that has one place only, its own description says it all.
            let shared = self.uses(property) > 1;
            self.section(&below, property, property["description"].as_str().filter(|_| shared), value, order);
        }
    }

    /// How many keys have the type of `property`.
    fn uses(&self, property: &Json) -> usize {
        let name = property["$ref"].as_str().unwrap_or_default();
        self.root.to_string().matches(&format!("\"{name}\"")).count()
    }

    /// The keys of each entry of a list of structs.
    fn keys_of_entries(&mut self, at: &str, property: &Json, order: &Yaml) {
        let Some(items) = property.get("items").map(|items| resolve(self.root, items)) else { return };
        let Some(order) = order.get(0).and_then(Yaml::as_mapping) else { return };
        for key in order.keys().filter_map(Yaml::as_str) {
            let must = items["required"].as_array().is_some_and(|all| all.iter().any(|name| name == key));
            let property = &items["properties"][key];
            self.key(&format!("{at}[].{key}"), property, &default(property, must, None, None));
        }
    }

    fn key(&mut self, at: &str, property: &Json, default: &str) {
        let (kind, allowed) = self.kind(property);
        let allowed = allowed.map(|text| format!(", {text}")).unwrap_or_default();
        self.line(format_args!("- **`{at}`** ({kind}{allowed}; {default})  \n  {}", description(property)));
        for (value, meaning) in values(resolve(self.root, property)).into_iter().take_while(|_| kind == "one of these")
        {
            self.line(format_args!("  - `{value}`: {meaning}"));
        }
    }

    /// The type in words, and what values it allows.
    fn kind(&mut self, property: &Json) -> (String, Option<String>) {
        let schema = resolve(self.root, property);
        if let Some(bounds) = pair(schema) {
            return ("range `[low, high]`".into(), Some(bounds.to_string()));
        }
        let known = values(schema);
        if known.len() > SHORT {
            let name = property["$ref"].as_str().and_then(|to| to.rsplit('/').next()).unwrap_or_default().to_owned();
            let link = format!("[{}](#{})", words(&name), anchor(&name));
            if !self.long_enums.contains(&name) {
                self.long_enums.push(name);
            }
            return (link, None);
        }
        if !known.is_empty() {
            return ("one of these".into(), None);
        }
        let bounds = Bounds::of(schema);
        let plain = bounds == Bounds::default() || bounds == Bounds { min: Some(0.0), ..Bounds::default() };
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default() {
            "boolean" => ("true or false".into(), None),
            "string" => ("text".into(), None),
            "integer" => ("whole number".into(), (!plain).then(|| bounds.to_string())),
            "number" => ("number".into(), (bounds != Bounds::default()).then(|| bounds.to_string())),
            "array" => self.list(schema),
            _ => ("keys as below".into(), None),
        }
    }

    fn list(&mut self, schema: &Json) -> (String, Option<String>) {
        let (kind, allowed) = self.kind(&schema["items"]);
        let length = |key: &str| schema.get(key).and_then(Json::as_u64);
        let each = allowed.map(|text| format!("each {text}"));
        let plural = |kind: String| match kind.as_str() {
            "whole number" => "whole numbers".into(),
            "range `[low, high]`" => "ranges `[low, high]`".into(),
            kind if kind.starts_with("list of") => kind.replacen("list", "lists", 1),
            "keys as below" => "entries with the keys below".into(),
            _ => kind,
        };
        match (length("minItems"), length("maxItems")) {
            (Some(least), Some(most)) if least == most => (format!("{least} {}", plural(kind)), each),
            (Some(least), Some(most)) => (format!("list of {least} to {most} {}", plural(kind)), each),
            _ => (format!("list of {}", plural(kind)), each),
        }
    }

    fn long_enum(&mut self, name: &str) {
        let schema = &self.root["$defs"][name];
        self.line(format_args!("\n## {}\n\n{}\n", words(name), description(schema)));
        for (value, meaning) in values(schema) {
            self.line(format_args!("- `{value}`: {meaning}"));
        }
    }
}

//! File names with fields: `{scene}/blur/{frame:digits}.{ext}`.

use defusion_config::protocol::EXIT_USAGE;

/// A pattern of a path relative to a dataset's root, `/` between its parts.
///
/// `{name}` is one or more characters without `/`, as few as fit; `{name:digits}` is one or more digits; `{name:path}`
/// is one or more characters that may hold `/`; `{ext}` is the extension of an image that can be read (`png`, `jpg`,
/// `jpeg`, `jpe`, `jfif`, `webp`, `bmp`, `tif`, `tiff`, in any case). All else stands for itself. A field may occur twice: it then has the
/// same value at both places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String, Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Digits,
    Path,
    Extension,
}

/// The field that stands for an image's extension. It never decides which files belong together.
pub(crate) const EXTENSION: &str = "ext";

/// Whether a path has the extension of an image that can be read.
pub fn is_image(path: &str) -> bool {
    is_extension(extension(path))
}

/// The extension of a path's file name; empty if it has none.
pub(crate) fn extension(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_extension(ext: &str) -> bool {
    const READ: [&str; 9] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "tif", "tiff"];
    READ.iter().any(|known| known.eq_ignore_ascii_case(ext))
}

/// A template that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template `{text}`: {message}")]
pub struct TemplateError {
    text: String,
    message: String,
}

impl TemplateError {
    /// Whether starting again can help: never.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// Exit code of a program that ends because of it.
    pub fn exit_code(&self) -> i32 {
        EXIT_USAGE
    }
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let error = |message: &str| TemplateError { text: text.to_owned(), message: message.to_owned() };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            if open > 0 {
                parts.push(Part::Literal(rest[..open].to_owned()));
            }
            let close = open + rest[open..].find('}').ok_or_else(|| error("`{` without `}`"))?;
            let (name, kind) = rest[open + 1..close].split_once(':').unwrap_or((&rest[open + 1..close], ""));
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(error("a field's name is letters, digits and `_`"));
            }
            let kind = match (name, kind) {
                (EXTENSION, "") => Kind::Extension,
                (EXTENSION, _) => return Err(error("`ext` has a meaning of its own and takes no kind")),
                (_, "") => Kind::Text,
                (_, "digits") => Kind::Digits,
                (_, "path") => Kind::Path,
                _ => return Err(error("a field's kind is `digits` or `path`")),
            };
            parts.push(Part::Field(name.to_owned(), kind));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err(error("is empty"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The fields of a path that fits a template, in the template's order.
pub(crate) type Fields<'a> = Vec<(&'a str, &'a str)>;

impl Template {
    /// Returns the fields of `path`, or `None` if it does not fit.
    pub(crate) fn fields<'a>(&'a self, path: &'a str) -> Option<Fields<'a>> {
        let mut found = Vec::new();
        fit(&self.parts, path, &mut found).then_some(found)
    }

    /// Returns the names of the fields, without the extension.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for part in &self.parts {
            if let Part::Field(name, _) = part
                && name != EXTENSION
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }
}

fn fit<'a>(parts: &'a [Part], path: &'a str, found: &mut Fields<'a>) -> bool {
    let Some((first, rest)) = parts.split_first() else { return path.is_empty() };
    let (name, kind) = match first {
        Part::Literal(text) => return path.strip_prefix(text.as_str()).is_some_and(|p| fit(rest, p, found)),
        Part::Field(name, kind) => (name.as_str(), *kind),
    };
    let known = found.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    if let Some(value) = known {
        return path.strip_prefix(value).is_some_and(|p| fit(rest, p, found));
    }
    for (start, c) in path.char_indices() {
        let allowed = match kind {
            Kind::Text => c != '/',
            Kind::Digits => c.is_ascii_digit(),
            Kind::Path => true,
            Kind::Extension => c.is_ascii_alphabetic(),
        };
        if !allowed {
            return false;
        }
        let (value, after) = path.split_at(start + c.len_utf8());
        // Digits end where the digits end: `7` is no field of `77`.
        if kind == Kind::Digits && after.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        if kind == Kind::Extension && !is_extension(value) {
            continue;
        }
        found.push((name, value));
        if fit(rest, after, found) {
            return true;
        }
        found.pop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(template: &'a Template, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        template.fields(path)
    }

    #[test]
    fn text_is_as_short_as_fits() {
        let t: Template = "hazy/{id}_{rest}.{ext}".parse().unwrap();
        let got = fields(&t, "hazy/0012_1_0.8.png").unwrap();
        assert_eq!(got, [("id", "0012"), ("rest", "1_0.8"), ("ext", "png")]);
        assert_eq!(t.names(), ["id", "rest"]);
    }

    #[test]
    fn digits_are_whole_and_parts_do_not_cross_folders() {
        let t: Template = "{scene:digits}_{k:digits}.{ext}".parse().unwrap();
        assert_eq!(fields(&t, "901_14.JPG").unwrap(), [("scene", "901"), ("k", "14"), ("ext", "JPG")]);
        assert!(fields(&t, "901_14.gif").is_none());
        assert!(fields(&t, "a901_14.jpg").is_none());
        let t: Template = "{a}/{b}.png".parse().unwrap();
        assert!(fields(&t, "x/y/z.png").is_none());
        let t: Template = "{dir:path}/{b}.png".parse().unwrap();
        assert_eq!(fields(&t, "x/y/z.png").unwrap(), [("dir", "x/y"), ("b", "z")]);
    }

    #[test]
    fn a_field_used_twice_has_one_value() {
        let t: Template = "{n}/{n}_x.png".parse().unwrap();
        assert!(fields(&t, "7/7_x.png").is_some());
        assert!(fields(&t, "7/8_x.png").is_none());
    }

    #[test]
    fn bad_templates_are_refused() {
        for text in ["", "{", "{a:b}", "{}", "{ext:digits}", "{a b}"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }
}

//! Texts without what may be secret.

/// An error and its causes, each once, without secrets: object_store's own texts often end with their cause.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    redact(&text)
}

/// `text` without what may be secret in its URLs: user, password, query (where signed URLs carry their signature) and
/// fragment.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        // A comma or bracket may be part of a query: only what can be in no URL ends it, and the bracket around one.
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>)".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let kept = &url[..url.find(['?', '#']).unwrap_or(url.len())];
        let host_end = kept.find('/').unwrap_or(kept.len());
        out.push_str(match kept[..host_end].rfind('@') {
            Some(user) => &kept[user + 1..],
            None => kept,
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets() {
        assert_eq!(redact("s3://KEY:SECRET@bucket/a?x=1 failed"), "s3://bucket/a failed");
        assert_eq!(redact("get (https://a.net/c/b?v=1,2&sig=SECRET): 403"), "get (https://a.net/c/b): 403");
        assert_eq!(redact("plain /path?with=query"), "plain /path?with=query");
    }
}

//! The AWS profile that the environment chooses: what `aws configure` has written.
//!
//! object_store reads variables and asks roles; it does not read these files. Read here are the keys, the region and the
//! endpoint of a profile. What gets its keys by another program or by signing in is refused by name.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use object_store::aws::AmazonS3ConfigKey as Key;

/// A profile's settings that no variable gives. `variable` reads the environment.
///
/// # Errors
/// What is wrong with the profile, and what to do.
pub(crate) fn settings(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<(Key, String)>, String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let any = |names: &[&str]| names.iter().any(|name| set(name).is_some());
    let chosen = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
    let name = chosen.as_deref().unwrap_or("default");
    let file = |named: &str, usual: &str| match (set(named), set("HOME")) {
        (Some(path), _) => Some(PathBuf::from(path)),
        (None, Some(home)) => Some(Path::new(&home).join(usual)),
        (None, None) => None,
    };
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let config = file("AWS_CONFIG_FILE", ".aws/config");
    let mut profile: Option<HashMap<String, String>> = None;
    for (path, section) in
        [(&credentials, name.to_owned()), (&config, format!("profile {name}")), (&config, name.to_owned())]
    {
        let Some(path) = path else { continue };
        for (key, value) in read(path, &section)?.into_iter().flatten() {
            profile.get_or_insert_default().entry(key).or_insert(value);
        }
    }
    let own_credentials = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ];
    let wants_keys = !any(&own_credentials);
    let Some(profile) = profile else {
        return match chosen.filter(|_| wants_keys) {
            Some(name) => {
                let looked = [credentials, config].map(|path| path.unwrap_or_default().display().to_string());
                Err(format!("AWS_PROFILE is `{name}`, but there is no such profile in {}", looked.join(" or ")))
            }
            None => Ok(Vec::new()),
        };
    };
    let mut settings = Vec::new();
    let mut take = |key, from: &str| settings.extend(profile.get(from).map(|value| (key, value.clone())));
    if !any(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
        take(Key::Region, "region");
    }
    if !any(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]) {
        take(Key::Endpoint, "endpoint_url");
    }
    if wants_keys && profile.contains_key("aws_access_key_id") && profile.contains_key("aws_secret_access_key") {
        take(Key::AccessKeyId, "aws_access_key_id");
        take(Key::SecretAccessKey, "aws_secret_access_key");
        take(Key::Token, "aws_session_token");
        return Ok(settings);
    }
    let elsewhere = ["sso_session", "sso_start_url", "login_session", "role_arn", "credential_process"];
    match elsewhere.iter().find(|key| wants_keys && profile.contains_key(**key)) {
        Some(key) => Err(format!(
            "profile `{name}` gets its keys by `{key}`, which is not supported; put them into the environment first: \
             eval \"$(aws configure export-credentials --profile {name} --format env)\""
        )),
        None => Ok(settings),
    }
}

/// The keys of one section; `None` if file or section is not there.
fn read(path: &Path, section: &str) -> Result<Option<HashMap<String, String>>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    let mut found: Option<HashMap<String, String>> = None;
    let mut within = false;
    for line in text.lines() {
        // What is indented belongs to the key above it.
        if line.starts_with(char::is_whitespace) || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.strip_prefix('[') {
            let head = head.split(']').next().unwrap_or_default();
            within = head.split_whitespace().eq(section.split_whitespace());
            if within {
                found.get_or_insert_default();
            }
        } else if let (true, Some((key, value))) = (within, line.split_once('=')) {
            let key = key.trim().to_ascii_lowercase();
            found.get_or_insert_default().insert(key, value.trim().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings in an environment of these variables and files in its home.
    fn of(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Vec<(Key, String)>, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in files {
            std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        }
        settings(|name| match name {
            "HOME" => Some(home.path().display().to_string()),
            name => variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()),
        })
    }

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = ID\naws_secret_access_key=SECRET\n\n\
        [ other ]\naws_access_key_id = ID2\naws_secret_access_key = SECRET2\naws_session_token = T==\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  region = nested\n[profile other]\n\
        region = us-east-2\nendpoint_url = https://store.example\n[profile sso]\nsso_session = corp\n";
    const FILES: [(&str, &str); 2] = [("credentials", CREDENTIALS), ("config", CONFIG)];

    fn pairs(settings: &[(Key, String)]) -> Vec<(Key, &str)> {
        settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
    }

    #[test]
    fn the_default_profile_is_read_from_both_files() {
        let wanted = [(Key::Region, "eu-west-1"), (Key::AccessKeyId, "ID"), (Key::SecretAccessKey, "SECRET")];
        assert_eq!(pairs(&of(&[], &FILES).unwrap()), wanted);
        assert!(of(&[], &[]).unwrap().is_empty());
    }

    #[test]
    fn another_profile_is_chosen_by_its_name() {
        let got = of(&[("AWS_PROFILE", "other")], &FILES).unwrap();
        let wanted = [
            (Key::Region, "us-east-2"),
            (Key::Endpoint, "https://store.example"),
            (Key::AccessKeyId, "ID2"),
            (Key::SecretAccessKey, "SECRET2"),
            (Key::Token, "T=="),
        ];
        assert_eq!(pairs(&got), wanted);
        let error = of(&[("AWS_PROFILE", "none")], &FILES).unwrap_err();
        assert!(
            error.contains("`none`") && error.contains(".aws/credentials") && error.contains(".aws/config"),
            "{error}"
        );
    }

    #[test]
    fn variables_go_before_a_profile() {
        let variables =
            [("AWS_ACCESS_KEY_ID", "V"), ("AWS_REGION", "r"), ("AWS_PROFILE", "other"), ("AWS_ENDPOINT_URL", "e")];
        assert!(of(&variables, &FILES).unwrap().is_empty());
        assert!(of(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "t"), ("AWS_PROFILE", "none")], &FILES).unwrap().is_empty());
    }

    #[test]
    fn keys_that_come_by_other_ways_are_refused_by_name() {
        let error = of(&[("AWS_PROFILE", "sso")], &FILES).unwrap_err();
        assert!(error.contains("`sso_session`") && error.contains("export-credentials --profile sso"), "{error}");
        assert!(of(&[("AWS_PROFILE", "sso"), ("AWS_ACCESS_KEY_ID", "V")], &FILES).unwrap().is_empty());
    }
}

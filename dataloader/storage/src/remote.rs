//! Clients of object stores, with the environment's settings.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientConfigKey, ClientOptions, ObjectStore, ObjectStoreScheme};
use url::{Position, Url};

use crate::aws_profile;

/// How long a web server may send nothing. Its files are perhaps read whole, so the request itself has no limit.
const SILENCE: Duration = Duration::from_secs(30);

const KNOWN: &str = "known are file, s3, gs, az, abfss, http, https and memory";

/// The store of a URL, and the folder within it.
///
/// # Errors
/// What is wrong with the URL or the settings.
pub(crate) fn open(url: &Url) -> Result<(Arc<dyn ObjectStore>, Path), String> {
    // The clients have no TLS of their own choice. An error only says that the process has chosen one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|e| format!("{e}; {KNOWN}"))?;
    // Each builder reads its own variables only: a stray TOKEN or BUCKET in the environment means nothing here.
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => s3(url)?.build().map(|store| Arc::new(store) as Arc<dyn ObjectStore>),
        ObjectStoreScheme::GoogleCloudStorage => {
            GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).build().map(|store| Arc::new(store) as _)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            MicrosoftAzureBuilder::from_env().with_url(url.as_str()).build().map(|store| Arc::new(store) as _)
        }
        ObjectStoreScheme::Http => {
            let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
            let options = options.with_timeout_disabled().with_read_timeout(SILENCE);
            let builder = HttpBuilder::new().with_url(&url[..Position::BeforePath]).with_client_options(options);
            builder.build().map(|store| Arc::new(store) as _)
        }
        other => return Err(format!("{other:?} cannot be used; {KNOWN}")),
    };
    Ok((store.map_err(|e| e.to_string())?, prefix))
}

/// Variables, and what the profile has beyond them.
fn s3(url: &Url) -> Result<AmazonS3Builder, String> {
    use AmazonS3ConfigKey as Key;
    let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
    for (key, value) in aws_profile::settings(|name| std::env::var(name).ok())? {
        builder = builder.with_config(key, value);
    }
    let Some(endpoint) = [Key::S3Endpoint, Key::Endpoint].iter().find_map(|key| builder.get_config_value(key)) else {
        return Ok(builder);
    };
    const SETTING: &str = "AWS_ENDPOINT_URL, or endpoint_url of the AWS profile";
    // The client panics at what is none.
    if !Url::parse(&endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        return Err(format!("the endpoint {endpoint} ({SETTING}) is no URL; it begins with https:// or http://"));
    }
    let allowed = builder.get_config_value(&Key::Client(ClientConfigKey::AllowHttp)).unwrap_or_default();
    let allowed = ["true", "1", "on", "yes", "y"].contains(&allowed.to_ascii_lowercase().as_str());
    if endpoint.to_ascii_lowercase().starts_with("http:") && !allowed {
        return Err(format!(
            "the endpoint {endpoint} ({SETTING}) is not encrypted; set AWS_ALLOW_HTTP=true if it may be used as it is"
        ));
    }
    Ok(builder)
}

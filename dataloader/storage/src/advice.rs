//! What to do about an answer of a store that says it only to those who know.

/// Words of an answer, and what they mean.
const KNOWN: [(&[&str], &str); 5] = [
    (
        &["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "metadata.google.internal"],
        "no credentials were found, so the machine's role was asked for: for S3, set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or AWS_SKIP_SIGNATURE=true for a public bucket; for Google Cloud, \
         GOOGLE_SERVICE_ACCOUNT; for Azure, AZURE_STORAGE_ACCOUNT_KEY",
    ),
    (
        &["PermanentRedirect", "AuthorizationHeaderMalformed", "incorrectly configured region"],
        "the bucket lies in another region: set AWS_REGION to it",
    ),
    (&["ExpiredToken", "TokenRefreshRequired", "token has expired"], "the credentials have expired: renew them"),
    (&["RequestTimeTooSkewed"], "the clock of this machine is wrong"),
    (&["No space left on device", "Disk quota exceeded"], "free some space, or name another folder"),
];

/// The message with what to do about it.
pub(crate) fn with_advice(message: String) -> String {
    let known = KNOWN.iter().find(|(words, _)| words.iter().any(|words| message.contains(words)));
    match known {
        Some((_, advice)) => format!("{message}; {advice}"),
        None => message,
    }
}

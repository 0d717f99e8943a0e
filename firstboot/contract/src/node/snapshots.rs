//! `[k3s.snapshots]`: copies of the cluster's database (etcd), by schedule, on `data` and in an object storage. k3s makes them
//! (k3s 1.36, "k3s etcd-snapshot").

use super::problem::{Problem, problem};
use super::registries::is_host;
use super::secrets::is_kept;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// Longest schedule that is taken, in bytes.
const LONGEST_SCHEDULE: usize = 64;

/// Without any of these, a server with etcd makes one at 00:00 and 12:00 and keeps five, on `data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// When, as cron writes it, in UTC: `"0 */6 * * *"` is every six hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How many are kept on each server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// Whether they are compressed.
    #[serde(default)]
    pub compress: bool,
    /// Where else they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
}

/// A bucket of an object storage that speaks S3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Name or address, with its port where that is not 443: `"s3.rack1.lan:9000"`.
    pub endpoint: String,
    pub bucket: String,
    /// Folder in the bucket, for several clusters in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    pub access_key: Secret,
    pub secret_key: Secret,
    /// Whether the storage is reached by HTTP, without TLS.
    #[serde(default)]
    pub plain_http: bool,
}

impl Snapshots {
    /// What types alone cannot say.
    pub(super) fn check(&self, found: &mut Vec<Problem>) {
        let here = |key: &str, message: &str| problem(["k3s", "snapshots", key], message);
        if self.schedule.as_ref().is_some_and(|schedule| !is_schedule(schedule)) {
            found.push(here("schedule", "this is not a schedule of cron's; write it like \"0 */6 * * *\""));
        }
        if self.keep == Some(0) {
            found.push(here("keep", "at least one snapshot is kept"));
        }
        let Some(s3) = &self.s3 else { return };
        let at = |key: &str, message: &str| problem(["k3s", "snapshots", "s3", key], message);
        if !is_host(&s3.endpoint) {
            found.push(at("endpoint", "this is not a name or an address with a port, such as \"s3.rack1.lan:9000\""));
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
        let bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !(3..=63).contains(&s3.bucket.len()) || !s3.bucket.bytes().all(bucket) {
            found.push(at("bucket", "a bucket's name has 3 to 63 lower-case letters, digits, hyphens and dots"));
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        for (key, text) in [("folder", &s3.folder), ("region", &s3.region)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || !text.bytes().all(word)) {
                found.push(at(key, "it consists of letters, digits, `-`, `_`, `.` and `/`"));
            }
        }
        // Both stand between double quotes in YAML.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        for (key, secret) in [("access_key", &s3.access_key), ("secret_key", &s3.secret_key)] {
            let text = secret.expose();
            if !is_kept(text) && (text.is_empty() || !text.bytes().all(plain)) {
                found.push(at(key, "a key has printable ASCII characters, without spaces, `\"` and `\\`"));
            }
        }
    }
}

/// Five fields, or a word such as `@daily` (github.com/robfig/cron, which k3s uses).
fn is_schedule(text: &str) -> bool {
    if text.len() > LONGEST_SCHEDULE {
        return false;
    }
    if let Some(word) = text.strip_prefix('@') {
        return ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"].contains(&word);
    }
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"*/,-?".contains(&byte);
    let fields: Vec<&str> = text.split(' ').collect();
    fields.len() == 5 && fields.iter().all(|field| !field.is_empty() && field.bytes().all(fine))
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    const HEAD: &str = "name = \"s1\"\n[disks]\ndata = \"ext4\"\n[k3s.snapshots]\n";
    const S3: &str = "[k3s.snapshots.s3]\nendpoint = \"s3.rack1.lan:9000\"\nbucket = \"etcd\"\naccess_key = \"rack1rack1\"\n\
        secret_key = \"hunter2hunter2\"\n";

    fn parse(text: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(format!("{HEAD}{text}").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn schedules_and_a_bucket_are_taken_and_both_keys_are_secrets() {
        for schedule in ["0 */6 * * *", "@daily", "15 3 1-7 * MON,THU"] {
            parse(&format!("schedule = \"{schedule}\"\nkeep = 7\n")).unwrap();
        }
        let text = format!("{HEAD}{S3}");
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        let hidden = super::super::secrets::hide(&text, &config);
        assert!(
            hidden.contains("s3.rack1.lan") && !hidden.contains("hunter") && !hidden.contains("rack1rack1"),
            "{hidden}"
        );
    }

    #[test]
    fn what_k3s_could_not_use_is_refused_at_its_key() {
        for (text, key) in [
            ("schedule = \"6 hours\"", "schedule"),
            ("schedule = \"0 * * * * *\"", "schedule"),
            ("schedule = \"0 0 * * \\\"\"", "schedule"),
            ("schedule = \"@reboot\"", "schedule"),
            ("keep = 0", "keep"),
        ] {
            let error = parse(&format!("{text}\n")).unwrap_err();
            assert!(error.contains(&format!("k3s.snapshots.{key}")), "{text}: {error}");
        }
        for (from, to, key) in [
            ("s3.rack1.lan:9000", "https://s3.rack1.lan", "endpoint"),
            ("\"etcd\"", "\"Etcd\"", "bucket"),
            ("\"etcd\"", "\"e\"", "bucket"),
            ("hunter2hunter2", "a\\\"b", "secret_key"),
            ("rack1rack1", "", "access_key"),
            ("bucket", "folder = \"a b\"\nbucket", "folder"),
        ] {
            let error = parse(&S3.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(&format!("k3s.snapshots.s3.{key}")), "{to}: {error}");
        }
    }
}

//! Requests by HTTP and HTTPS. Redirects are answers like any other; proxies are not supported.

use crate::tls;
use anyhow::{Context as _, bail, ensure};
use contract::role::HttpProbe;
use std::io::Read as _;
use std::time::Duration;
use ureq::tls::TlsConfig;

/// Bytes of the body that are inspected, and of that of an error.
const BODY: u64 = 64 * 1024;
const SAID: u64 = 1024;

/// Asks once.
///
/// # Errors
/// No answer, or not the one that counts as good.
pub(super) fn check(request: &HttpProbe, limit: Duration) -> anyhow::Result<()> {
    Asker::new(request.clone(), limit)?.ask(false)
}

/// Asks again and again, on a connection that is kept open where the server keeps it.
#[derive(Debug)]
pub struct Asker {
    request: HttpProbe,
    limit: Duration,
    agent: ureq::Agent,
}

impl Asker {
    /// `limit` is the time for each answer.
    ///
    /// # Errors
    /// The certificates to trust cannot be read.
    pub fn new(request: HttpProbe, limit: Duration) -> anyhow::Result<Asker> {
        let agent = asker_agent(&request, limit)?;
        Ok(Asker { request, limit, agent })
    }

    /// Asks once. `anew`: on a new connection.
    ///
    /// # Errors
    /// No answer, or not the one that counts as good.
    pub fn ask(&mut self, anew: bool) -> anyhow::Result<()> {
        if anew {
            self.agent = asker_agent(&self.request, self.limit)?;
        }
        let HttpProbe { url, status: wanted_status, body: wanted, .. } = &self.request;
        let mut answer = self.agent.get(url).call().with_context(|| format!("no answer from {url}"))?;
        let status = answer.status();
        let good = wanted_status.map_or(status.is_success(), |wanted| status.as_u16() == wanted);
        if !good {
            let wanted = wanted_status.map_or_else(String::new, |wanted| format!(", not {wanted}"));
            // What it says of itself: the reason, mostly.
            let said = body(&mut answer, SAID).unwrap_or_default();
            let said = said.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| format!(": {line}"));
            bail!("{url} answered {}{wanted}{}", status.as_u16(), said.unwrap_or_default());
        }
        if let Some(wanted) = wanted {
            let found = body(&mut answer, BODY).with_context(|| format!("the answer of {url} ends early"))?;
            ensure!(found.contains(wanted.as_str()), "the answer of {url} does not contain {wanted:?}");
        }
        Ok(())
    }
}

fn asker_agent(request: &HttpProbe, limit: Duration) -> anyhow::Result<ureq::Agent> {
    let trust = if request.url.starts_with("https://") { Some(trust(request)?) } else { None };
    Ok(agent(trust, limit))
}

/// Asks once; an answer of any status is one.
///
/// # Errors
/// No answer.
pub(super) fn get(
    url: &str,
    trust: Option<TlsConfig>,
    limit: Duration,
) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
    agent(trust, limit).get(url).call().with_context(|| format!("no answer from {url}"))
}

/// `limit` is the time for each answer.
pub(super) fn agent(trust: Option<TlsConfig>, limit: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent("microdc");
    if let Some(trust) = trust {
        config = config.tls_config(trust);
    }
    config.build().into()
}

/// The first `longest` bytes of an answer's body as text.
///
/// # Errors
/// When it ends early.
pub(super) fn body(answer: &mut ureq::http::Response<ureq::Body>, longest: u64) -> std::io::Result<String> {
    let mut body = Vec::new();
    answer.body_mut().as_reader().take(longest).read_to_end(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Whose certificates count.
fn trust(request: &HttpProbe) -> anyhow::Result<TlsConfig> {
    if request.insecure {
        return Ok(tls::unverified());
    }
    tls::trusting(request.ca.as_deref().context("no certificate to trust is set")?)
}

#[cfg(test)]
#[path = "https_tests.rs"]
pub(super) mod https;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    /// A server that gives every caller these bytes, and the probe's word about it.
    fn asked(answer: &'static [u8], status: Option<u16>, body: Option<&str>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health?deep=1", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut caller, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = caller.read(&mut request).unwrap();
            let _ = caller.write_all(answer);
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let request = HttpProbe { url, status, body: body.map(str::to_owned), ca: None, insecure: false };
        let found = check(&request, Duration::from_secs(2)).map_err(|why| format!("{why:#}"));
        let said = server.join().unwrap();
        assert!(said.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{said}");
        found
    }

    #[test]
    fn a_good_answer_has_the_status_and_the_body_that_are_wanted() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well";
        assert_eq!(asked(answer, None, Some("well")), Ok(()));
        assert_eq!(asked(answer, Some(200), None), Ok(()));
        assert!(asked(answer, Some(204), None).unwrap_err().ends_with("answered 200, not 204: all well"));
        assert!(asked(answer, None, Some("ill")).unwrap_err().ends_with("does not contain \"ill\""));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n";
        assert_eq!(asked(chunked, None, Some("all well")), Ok(()));
    }

    #[test]
    fn an_error_a_redirect_and_noise_are_no_good_answers() {
        assert!(asked(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None, None).unwrap_err().contains("503"));
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert!(asked(redirect, None, None).unwrap_err().contains("302"));
        for noise in [&b""[..], b"\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", &[0xff; 4096]] {
            assert!(asked(noise, None, None).is_err());
        }
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nall";
        assert!(asked(short, None, Some("all")).unwrap_err().contains("ends early"));
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for_longer_than_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let request = HttpProbe { url, status: None, body: None, ca: None, insecure: false };
        let begin = std::time::Instant::now();
        assert!(check(&request, Duration::from_millis(300)).is_err());
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}

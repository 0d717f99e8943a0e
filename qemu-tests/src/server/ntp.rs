//! A time server (RFC 5905, client and server modes alone) that is right.

use super::Serving;
use emulator::network::Host;
use emulator::network::frame::Body;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP begins, to 1970.
const ERA: u64 = 2_208_988_800;

/// The server.
#[derive(Debug)]
pub struct NtpServer {
    _serving: Serving,
}

/// Now, as NTP writes it: 32 bits of seconds and 32 of their fraction.
fn now() -> [u8; 8] {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (((since.as_secs() + ERA) << 32) | fraction).to_be_bytes()
}

impl NtpServer {
    /// Serves from this host.
    #[must_use]
    pub fn start(host: Arc<Host>) -> NtpServer {
        let serving = Serving::start(move || {
            let question = host.receive("a question for the time", Duration::from_millis(200), |packet| {
                matches!(packet.body, Body::Udp { to: 123, .. })
            });
            let Ok(question) = question else { return };
            let received = now();
            let Body::Udp { from, data, .. } = question.packet.body else { return };
            if data.len() < 48 || data[0] & 7 != 3 {
                return;
            }
            // No warning, the client's version, server; stratum 1; poll; precision 2^-20 s.
            let mut answer = vec![(data[0] & 0x38) | 4, 1, data[2], 0xec];
            answer.extend([0, 0, 0, 0, 0, 0, 0, 1]);
            answer.extend(b"TEST");
            answer.extend(received);
            answer.extend(&data[40..48]);
            answer.extend(received);
            answer.extend(now());
            let body = Body::Udp { from: 123, to: from, data: answer };
            // A node that has gone meanwhile asks again.
            let _ = host.send(question.packet.from, 64, body, Duration::from_secs(1));
        });
        NtpServer { _serving: serving }
    }
}

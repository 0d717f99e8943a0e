//! The API of a server, as far as its clients are concerned: `pong` for those who look whether it answers, and for those who
//! want to know which server they have reached, datagrams.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::exit;
use std::thread::spawn;

/// Answers until the process ends, datagrams at these addresses.
pub fn run(port: &str, addresses: &[&str]) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    for address in addresses {
        let socket = bound(&format!("{address}:{port}"), UdpSocket::bind);
        let name = name.clone();
        spawn(move || {
            let mut asked = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut asked) {
                let answer = [name.as_bytes(), b" ", &asked[..length]].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
    }
    let listener = bound(&format!("0.0.0.0:{port}"), TcpListener::bind);
    for mut caller in listener.incoming().flatten() {
        spawn(move || {
            let mut request = [0; 2048];
            while caller.read(&mut request).is_ok_and(|length| length > 0) {
                if caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong").is_err() {
                    break;
                }
            }
        });
    }
}

fn bound<'a, T>(address: &'a str, bind: impl Fn(&'a str) -> std::io::Result<T>) -> T {
    bind(address).unwrap_or_else(|error| {
        println!("{address}: {error}");
        exit(97)
    })
}

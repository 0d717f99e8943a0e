//! An HTTP server for one folder that counts the bytes of the bodies that it sends. It knows ranges.

use anyhow::Result;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What was sent: bytes of bodies, and answers that have one.
#[derive(Clone, Copy, Default)]
pub struct Sent {
    pub bytes: u64,
    pub answers: u64,
}

pub struct Server {
    pub url: String,
    sent: Arc<Mutex<Sent>>,
}

impl Server {
    /// Serves until the program ends.
    pub fn start(folder: &Path) -> Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let sent = Arc::<Mutex<Sent>>::default();
        let (folder, count) = (folder.to_owned(), sent.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (folder, count) = (folder.clone(), count.clone());
                // A client that goes away does not matter.
                std::thread::spawn(move || serve(&client, &folder, &count).ok());
            }
        });
        Ok(Server { url, sent })
    }

    /// What was sent since the last call.
    pub fn sent(&self) -> Sent {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(mut client: &TcpStream, folder: &Path, sent: &Mutex<Sent>) -> Result<()> {
    let mut lines = BufReader::new(client).lines();
    while let Some(request) = lines.next().transpose()? {
        let mut range = None;
        while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            range = wanted(&line).or(range);
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let Ok(file) = std::fs::read(folder.join(path.trim_start_matches('/'))) else {
            write!(client, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let (head, body) = match range {
            Some((first, last)) if first < file.len() => {
                let last = last.min(file.len() - 1);
                let place = format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}", file.len());
                (place, &file[first..=last])
            }
            _ => ("200 OK".to_owned(), &file[..]),
        };
        write!(client, "HTTP/1.1 {head}\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n", body.len())?;
        if method != "HEAD" {
            client.write_all(body)?;
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.bytes += body.len() as u64;
            sent.answers += 1;
        }
    }
    Ok(())
}

/// First and last byte of a line `Range: bytes=FIRST-LAST`.
fn wanted(line: &str) -> Option<(usize, usize)> {
    let (name, value) = line.split_once(':')?;
    let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
    if !name.eq_ignore_ascii_case("range") {
        return None;
    }
    Some((first.parse().ok()?, last.parse().ok()?))
}

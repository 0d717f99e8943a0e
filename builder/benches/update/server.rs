//! An HTTP server for one folder that counts the bytes of the bodies that it sends.

use anyhow::Result;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Server {
    pub url: String,
    sent: Arc<AtomicU64>,
}

impl Server {
    /// Serves until the program ends.
    pub fn start(folder: &Path) -> Result<Server> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let sent = Arc::new(AtomicU64::new(0));
        let (folder, count) = (folder.to_owned(), sent.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (folder, count) = (folder.clone(), count.clone());
                // A client that goes away is no concern of ours.
                std::thread::spawn(move || serve(&client, &folder, &count).ok());
            }
        });
        Ok(Server { url, sent })
    }

    /// Bytes sent since the last call.
    pub fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::SeqCst)
    }
}

fn serve(mut client: &TcpStream, folder: &Path, sent: &AtomicU64) -> Result<()> {
    let mut lines = BufReader::new(client).lines();
    while let Some(request) = lines.next().transpose()? {
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        match std::fs::read(folder.join(PathBuf::from(path))) {
            Ok(body) => {
                write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
                client.write_all(&body)?;
                sent.fetch_add(body.len() as u64, Ordering::SeqCst);
            }
            Err(_) => write!(client, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
    Ok(())
}

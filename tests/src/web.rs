//! A web server that gives files, as plain ones do: no lists, no writing, and no parts of files.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A server that runs as long as the test does.
pub struct WebServer {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl WebServer {
    /// Serves the files below `root`. Those whose path ends in `forbidden` are answered with 403.
    ///
    /// # Panics
    /// If no port can be had.
    pub fn start(root: &Path, forbidden: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (root, requests) = (root.to_owned(), heard.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, requests) = (root.clone(), requests.clone());
                std::thread::spawn(move || answer(stream, &root, forbidden, &requests));
            }
        });
        Self { url, heard }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests until now, with their headers.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One request, then the connection is closed.
fn answer(
    mut stream: TcpStream,
    root: &Path,
    forbidden: Option<&str>,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?).lines();
    let lines: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(lines.join("\n"));
    let mut words = lines.first().map_or("", String::as_str).split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = |stream: &mut TcpStream, status: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    if forbidden.is_some_and(|end| path.ends_with(end)) {
        return status(&mut stream, "403 Forbidden");
    }
    if !matches!(method, "GET" | "HEAD") {
        return status(&mut stream, "501 Unsupported method");
    }
    let Ok(bytes) = std::fs::read(root.join(path.trim_start_matches('/'))) else {
        return status(&mut stream, "404 File not found");
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
    if method == "GET" { stream.write_all(&bytes) } else { Ok(()) }
}

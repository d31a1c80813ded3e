//! A small HTTP server on loopback, with the failings of real ones.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What goes wrong, and how often: each answer of the kind uses one up.
#[derive(Clone, Copy, Default)]
pub struct Failings {
    /// Answers that break off in the middle of the body.
    pub drops: usize,
    /// Answers of "503 Service Unavailable".
    pub busy: usize,
    /// Whether requests for a range are answered with everything.
    pub no_ranges: bool,
    /// Whether answers carry an entity tag.
    pub tags: bool,
}

pub struct Server {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    files: HashMap<String, Vec<u8>>,
    failings: Failings,
    log: Vec<String>,
}

impl Server {
    /// Serves files by their path, which begins with `/`.
    pub fn start(files: HashMap<String, Vec<u8>>, failings: Failings) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { files, failings, log: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || while answer(&stream, &state).is_some() {});
            }
        });
        Server { address, state }
    }

    /// The requests so far: method, path and range.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    pub fn replace(&self, path: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().files.insert(path.into(), bytes);
    }
}

/// Answers one request; none if the connection is to be closed.
fn answer(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let headers: HashMap<String, String> = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .filter_map(|line| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_string())))
        .collect();

    let mut state = state.lock().ok()?;
    let range = headers.get("range").cloned().unwrap_or_default();
    state.log.push(format!("{method} {path} {range}").trim_end().to_string());
    let mut out = stream;
    if state.failings.busy > 0 {
        state.failings.busy -= 1;
        return out.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let Some(file) = state.files.get(&path).cloned() else {
        return out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").ok();
    };
    let span = range.strip_prefix("bytes=").filter(|_| !state.failings.no_ranges);
    let span = span.and_then(|span| span.split_once('-'));
    let (head, body) = match span {
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            let last = last.min(file.len() - 1);
            let head = format!(
                "206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}",
                file.len()
            );
            (head, &file[first..=last])
        }
        None => ("200 OK".to_string(), &file[..]),
    };
    let sum: u64 = file.iter().fold(7, |sum, &byte| sum * 31 % 1_000_003 + u64::from(byte));
    let tag = if state.failings.tags { format!("ETag: \"{sum}\"\r\n") } else { String::new() };
    if let Some(wanted) = headers.get("if-match")
        && *wanted != format!("\"{sum}\"")
    {
        return out.write_all(b"HTTP/1.1 412 Changed\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let head = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\n{tag}Accept-Ranges: bytes\r\nLast-Modified: Mon, 01 \
         Jan 2024 00:00:00 GMT\r\n\r\n",
        body.len()
    );
    out.write_all(head.as_bytes()).ok()?;
    if method == "HEAD" {
        return Some(());
    }
    if state.failings.drops > 0 {
        state.failings.drops -= 1;
        let _ = out.write_all(&body[..body.len() / 2]);
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return None;
    }
    out.write_all(body).ok()
}

//! A small HTTP server on loopback, with the habits and failings of real ones.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does otherwise than a good one.
#[derive(Clone, Copy, Default)]
pub struct Failings {
    /// Answers that break off in the middle of the body; each uses one up. Short bodies come whole.
    pub drops: usize,
    /// Answers of "503 Service Unavailable"; each uses one up.
    pub busy: usize,
    /// The status of every answer.
    pub status: Option<u16>,
    /// Whether requests for a range are answered with everything.
    pub no_ranges: bool,
    /// Whether no answer tells its length; there are no ranges then.
    pub no_length: bool,
    /// Whether HEAD is refused.
    pub no_head: bool,
    /// Whether every body is packed on the way; there are no ranges then.
    pub gzip: bool,
    /// Whether answers carry an entity tag.
    pub tags: bool,
    /// Whether answers tell no date.
    pub no_dates: bool,
    /// Where to a request below `/data/` is sent on: the beginning of the new address, `HOST` being
    /// the server itself.
    pub moved: Option<&'static str>,
    /// The query that a link must have.
    pub query: Option<&'static str>,
    /// The header `Authorization` that must come.
    pub authorization: Option<&'static str>,
    /// The header `Content-Disposition` of answers.
    pub disposition: Option<&'static str>,
    /// The header `Content-Type` of answers.
    pub kind: Option<&'static str>,
    /// Answers after which the server listens, and says nothing.
    pub silent_after: Option<usize>,
    /// Answers after which bodies come one byte at a time, with this pause.
    pub drips_after: Option<(usize, Duration)>,
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

struct Request {
    method: String,
    path: String,
    query: String,
    headers: HashMap<String, String>,
}

struct Answer {
    head: String,
    body: Vec<u8>,
    /// Whether the connection breaks in the middle of the body.
    breaks: bool,
    /// Pause between two bytes of the body.
    drips: Option<Duration>,
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
                thread::spawn(move || while serve(&stream, &state, address).is_some() {});
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

    /// From now on, the server fails in another way.
    pub fn change(&self, failings: Failings) {
        self.state.lock().unwrap().failings = failings;
    }
}

/// Answers one request; none if the connection is to be closed.
fn serve(stream: &TcpStream, state: &Mutex<State>, address: SocketAddr) -> Option<()> {
    let request = read(stream)?;
    let answer = {
        let mut state = state.lock().ok()?;
        let range = request.headers.get("range").cloned().unwrap_or_default();
        let line = format!("{} {} {range}", request.method, request.path);
        state.log.push(line.trim_end().to_string());
        if state.failings.silent_after.is_some_and(|count| state.log.len() > count) {
            None
        } else {
            Some(state.answer(&request, address)?)
        }
    };
    let Some(answer) = answer else {
        // Until the other side hangs up.
        let _ = (&mut &*stream).read(&mut [0]);
        return None;
    };
    write(stream, &request, answer)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .filter_map(|line| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_string())))
        .collect();
    Some(Request { method, path: path.into(), query: query.into(), headers })
}

fn write(mut out: &TcpStream, request: &Request, answer: Answer) -> Option<()> {
    out.write_all(answer.head.as_bytes()).ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    if answer.breaks {
        let _ = out.write_all(&answer.body[..answer.body.len() / 2]);
        let _ = out.shutdown(Shutdown::Both);
        return None;
    }
    let Some(pause) = answer.drips else { return out.write_all(&answer.body).ok() };
    for byte in answer.body {
        out.write_all(&[byte]).ok()?;
        thread::sleep(pause);
    }
    Some(())
}

impl State {
    fn answer(&mut self, request: &Request, address: SocketAddr) -> Option<Answer> {
        let failings = self.failings;
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        if let Some(status) = failings.status {
            return Some(bare(status));
        }
        if failings.busy > 0 {
            self.failings.busy -= 1;
            return Some(bare(503));
        }
        if failings.no_head && request.method == "HEAD" {
            return Some(bare(405));
        }
        if failings.authorization.is_some() && header("authorization") != failings.authorization {
            return Some(bare(401));
        }
        if failings.query.is_some_and(|query| query != request.query) {
            return Some(bare(403));
        }
        let file = request.path.strip_prefix("/data/");
        if let (Some(to), Some(file)) = (failings.moved, file) {
            let to = to.replace("HOST", &address.to_string());
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}{file}\r\n");
            return Some(Answer { head: head + "Content-Length: 0\r\n\r\n", ..bare(302) });
        }
        let Some(file) = self.files.get(&request.path).cloned() else { return Some(bare(404)) };
        let sum: u64 = file.iter().fold(7, |sum, &byte| sum * 31 % 1_000_003 + u64::from(byte));
        if header("if-match").is_some_and(|wanted| wanted != format!("\"{sum}\"")) {
            return Some(bare(412));
        }
        let mut head = self.headers(sum);
        let whole = failings.no_ranges || failings.no_length || failings.gzip;
        let span = header("range").and_then(|range| range.strip_prefix("bytes="));
        let span = span.filter(|_| !whole).and_then(|span| span.split_once('-'));
        if span.is_some() && file.is_empty() {
            head += "Content-Range: bytes */0\r\nContent-Length: 0\r\n";
            return Some(Answer { head: format!("HTTP/1.1 416 No\r\n{head}\r\n"), ..bare(416) });
        }
        let body = match span {
            Some((first, last)) => {
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                let (last, size) = (last.min(file.len() - 1), file.len());
                head += &format!("Content-Range: bytes {first}-{last}/{size}\r\n");
                file[first..=last].to_vec()
            }
            None => file,
        };
        let status = if span.is_some() { "206 Partial Content" } else { "200 OK" };
        let body = self.packed(body, &mut head);
        let breaks = failings.drops > 0 && body.len() > 512;
        self.failings.drops -= usize::from(breaks);
        let drips = failings.drips_after.filter(|(count, _)| self.log.len() > *count);
        let drips = drips.map(|(_, pause)| pause);
        Some(Answer { head: format!("HTTP/1.1 {status}\r\n{head}\r\n"), body, breaks, drips })
    }

    /// The headers that have nothing to do with the body.
    fn headers(&self, sum: u64) -> String {
        let failings = self.failings;
        let mut head = String::new();
        if failings.tags {
            head += &format!("ETag: \"{sum}\"\r\n");
        }
        if !failings.no_dates {
            head += "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
        }
        for (name, value) in
            [("Content-Disposition", failings.disposition), ("Content-Type", failings.kind)]
        {
            head += &value.map(|value| format!("{name}: {value}\r\n")).unwrap_or_default();
        }
        head
    }

    /// The body as it goes over the wire, with the headers that say how.
    fn packed(&self, body: Vec<u8>, head: &mut String) -> Vec<u8> {
        let mut body = body;
        if self.failings.gzip {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&body).unwrap();
            body = packer.finish().unwrap();
            *head += "Content-Encoding: gzip\r\n";
        }
        if !self.failings.no_length {
            *head += &format!("Content-Length: {}\r\n", body.len());
            return body;
        }
        *head += "Transfer-Encoding: chunked\r\n";
        let mut chunked = Vec::new();
        for chunk in body.chunks(3000) {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        chunked
    }
}

/// An answer without a body.
fn bare(status: u16) -> Answer {
    let head = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
    Answer { head, body: Vec::new(), breaks: false, drips: None }
}

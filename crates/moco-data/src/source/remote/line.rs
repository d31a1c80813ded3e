//! Waiting for a server: bounded, said, and repeated where that may help.

use super::fault::Fault;
use crate::error::Unreachable;
use crate::source::patience::Waiting;
use crate::source::{Notice, OpenOptions, Patience};
use bytes::{Bytes, BytesMut};
use std::future::{self, Future};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};

/// Bytes that a server must send within [`Patience::silence`].
const LEAST: u64 = 1024;

/// Most memory that is taken before anything has come.
const MAX_RESERVED: usize = 16 << 20;

/// Drives all requests, on a thread of its own.
static DRIVER: LazyLock<io::Result<Handle>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("network".into())
        .spawn(move || runtime.block_on(future::pending::<()>()))?;
    Ok(handle)
});

/// What has come of an answer, in bytes, for the one who waits for it.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Notes that the answer has begun.
    pub(super) fn begin(&self) {
        self.add(LEAST as usize);
    }

    /// Notes bytes of it.
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The bytes of an answer of a known length, as they come.
pub(super) struct Body {
    bytes: BytesMut,
    length: usize,
    pulse: Pulse,
}

impl Body {
    /// An answer begins.
    pub(super) fn begin(length: usize, pulse: Pulse) -> Body {
        pulse.begin();
        Body { bytes: BytesMut::with_capacity(length.min(MAX_RESERVED)), length, pulse }
    }

    /// Takes what has come; more than was asked for is a fault.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        self.pulse.add(chunk.len());
        if self.bytes.len() + chunk.len() > self.length {
            return Err(Fault::Broke);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// All of it; less than was asked for is a fault.
    pub(super) fn whole(self) -> Result<Bytes, Fault> {
        if self.bytes.len() == self.length { Ok(self.bytes.freeze()) } else { Err(Fault::Broke) }
    }

    /// What has come of an answer that may be shorter.
    pub(super) fn so_far(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// The connection to a server, shared by all that is read from there.
pub(super) struct Line {
    host: String,
    patience: Patience,
    notice: Option<Notice>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When waiting was last spoken of, and in which attempt.
    told: Option<(Instant, u32)>,
    /// When the server was last given up, and why.
    failed: Option<(Instant, String)>,
}

impl Line {
    pub(super) fn new(host: String, options: &OpenOptions) -> Line {
        let (patience, notice) = (options.patience, options.notice.clone());
        Line { host, patience, notice, state: Mutex::default() }
    }

    /// Why the server was given up, if it was.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failed.as_ref().map(|(_, reason)| reason.clone())
    }

    /// Makes a request for `subject` until it succeeds or there is no hope. When `opening`, a
    /// person waits who may have mistyped the address: what then looks like it is not repeated.
    pub(super) fn ask<T: Send + 'static, F>(
        &self,
        subject: &str,
        opening: bool,
        mut request: impl FnMut(Pulse) -> F,
    ) -> Result<T, Unreachable>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let begun = Instant::now();
        self.retry(subject, opening, |number| {
            let pulse = Pulse::default();
            self.watch(number, begun, request(pulse.clone()), &pulse)
        })
    }

    /// Makes attempts, numbered from 1, until one succeeds or there is no hope. A server that was
    /// just given up is not waited for again by all the others who want something of it.
    pub(super) fn retry<T>(
        &self,
        subject: &str,
        opening: bool,
        mut attempt: impl FnMut(u32) -> Result<T, Fault>,
    ) -> Result<T, Unreachable> {
        if let Some((when, reason)) = &self.state().failed
            && when.elapsed() < 2 * self.patience.silence
        {
            return Err(Unreachable(reason.clone()));
        }
        let _waiting = Waiting::begin();
        let mut number = 1;
        loop {
            match attempt(number) {
                Ok(value) => {
                    self.answered();
                    return Ok(value);
                }
                Err(fault) if number < self.patience.attempts && fault.may_pass(opening) => {
                    self.pause(number, &fault);
                    number += 1;
                }
                Err(fault) => {
                    let reason = fault.sentence(subject, &self.host, number);
                    if fault.may_pass(false) {
                        self.state().failed = Some((Instant::now(), reason.clone()));
                    }
                    return Err(Unreachable(reason));
                }
            }
        }
    }

    /// One attempt, which ends when nothing comes any more.
    pub(super) fn watch<T: Send + 'static>(
        &self,
        number: u32,
        begun: Instant,
        request: impl Future<Output = Result<T, Fault>> + Send + 'static,
        pulse: &Pulse,
    ) -> Result<T, Fault> {
        let driver = DRIVER.as_ref().map_err(|_| Fault::NoThread)?;
        let (sender, receiver) = mpsc::channel();
        let task = driver.spawn(async move {
            let _ = sender.send(request.await);
        });
        let silence = self.patience.silence;
        let tick = (silence / 20).clamp(Duration::from_millis(1), Duration::from_millis(100));
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            match receiver.recv_timeout(tick) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => return Err(Fault::Broke),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let come = pulse.0.load(Ordering::Relaxed);
            if come >= seen + LEAST {
                (seen, since) = (come, Instant::now());
            } else if since.elapsed() >= silence {
                task.abort();
                return Err(Fault::Silent { slow: come > seen, limit: silence });
            }
            if begun.elapsed() >= self.patience.tell_after {
                self.tell(number);
            }
        }
    }

    /// Waits before the next attempt; not after a silence, which was wait enough.
    fn pause(&self, number: u32, fault: &Fault) {
        let longest = self.patience.pause * 80;
        let pause = match fault {
            Fault::Silent { .. } => Duration::ZERO,
            Fault::Busy { after: Some(after), .. } => (*after).min(longest),
            _ => self.patience.pause_after(number),
        };
        if pause >= self.patience.tell_after {
            self.tell(number + 1);
        }
        thread::sleep(pause);
    }

    /// Says that the server is waited for, once an attempt and else now and then.
    fn tell(&self, number: u32) {
        let (again, attempts) = (6 * self.patience.tell_after, self.patience.attempts);
        let mut state = self.state();
        let known = state.told.is_some_and(|(when, at)| at >= number && when.elapsed() < again);
        if !known {
            state.told = Some((Instant::now(), number));
            drop(state);
            self.notify(&format!("waiting for {} (attempt {number} of {attempts})", self.host));
        }
    }

    fn answered(&self) {
        let mut state = self.state();
        state.failed = None;
        if state.told.take().is_some() {
            drop(state);
            self.notify(&format!("{} answers again", self.host));
        }
    }

    fn notify(&self, text: &str) {
        if let Some(notice) = &self.notice {
            notice(text);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

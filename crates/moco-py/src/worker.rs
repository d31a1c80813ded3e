//! A thread that owns something which does not leave it.

use crate::error::{Fault, Result};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How often a waiting caller looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(100);

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A value of type `T` on a thread of its own. The thread ends when this is dropped.
pub struct Worker<T> {
    jobs: Sender<Job<T>>,
}

impl<T: 'static> Worker<T> {
    /// Makes the value on a new thread.
    pub fn new(make: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Worker<T>> {
        let (jobs, inbox) = mpsc::channel::<Job<T>>();
        let (made, answer) = mpsc::channel();
        thread::Builder::new().name("moco".into()).spawn(move || match make() {
            Ok(mut value) => {
                let _ = made.send(Ok(()));
                drop(made);
                inbox.into_iter().for_each(|job| job(&mut value));
            }
            Err(fault) => drop(made.send(Err(fault))),
        })?;
        answer.recv().unwrap_or_else(|_| Err(ended()))?;
        Ok(Worker { jobs })
    }

    /// Lets the thread do `job`; the answer comes on the channel.
    pub fn ask<A: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> A + Send + 'static,
    ) -> Result<Receiver<A>> {
        let (send, answer) = mpsc::channel();
        let job = Box::new(move |value: &mut T| drop(send.send(job(value))));
        self.jobs.send(job).map_err(|_| ended())?;
        Ok(answer)
    }
}

/// Waits for an answer without Python's lock; `look` is asked ten times a second whether to go on
/// waiting, with the lock.
pub fn wait<A: Send>(
    py: pyo3::Python<'_>,
    mut answer: Receiver<A>,
    mut look: impl FnMut(pyo3::Python<'_>) -> pyo3::PyResult<()>,
) -> pyo3::PyResult<A> {
    loop {
        // A receiver may wait on one thread at a time: it is lent, not shared.
        let lent = &mut answer;
        match py.detach(move || lent.recv_timeout(LOOK)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(ended().into()),
            Err(RecvTimeoutError::Timeout) => look(py)?,
        }
    }
}

fn ended() -> Fault {
    Fault::new("a fault in moco ended its thread; please report it")
}

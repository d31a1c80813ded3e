//! Ranks that are threads of one process: for tests, of which the methods' need many.

use crate::Comm;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a rank waits for the others before it panics, so that a test of unequal calls ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// One rank of several in this process. Sums are made in the order of the ranks.
pub struct Threads {
    rank: usize,
    size: usize,
    shared: Arc<Shared>,
}

/// What the ranks show each other.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What each rank has brought to the present exchange.
    brought: Vec<Option<(Vec<u8>, &'static str)>>,
    /// Everybody's values, until all have taken them.
    shown: Option<Arc<Vec<Vec<u8>>>>,
    taken: usize,
    /// The calls that differed, for every rank to end with.
    differing: Option<Vec<&'static str>>,
}

impl Threads {
    /// All ranks of a run of `size`.
    pub fn all(size: usize) -> Vec<Threads> {
        let state = State { brought: vec![None; size], ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Threads { rank, size, shared: Arc::clone(&shared) }).collect()
    }

    /// Everybody's `x`.
    ///
    /// # Panics
    /// If the ranks call for different exchanges, or one does not come.
    fn exchange(&self, x: Vec<u8>, what: &'static str) -> Arc<Vec<Vec<u8>>> {
        let Shared { state, changed } = &*self.shared;
        let absent = |state: &State| {
            let mine = state.brought[self.rank].is_some();
            let who = if mine { "its last exchange" } else { "the others" };
            format!("rank {} waited for {who} in vain in `{what}`", self.rank)
        };
        let wait = |guard, until: &dyn Fn(&State) -> bool| {
            let (guard, late) = changed
                .wait_timeout_while(guard, PATIENCE, |state: &mut State| !until(state))
                .expect("no rank has panicked");
            assert!(!late.timed_out(), "{}", absent(&guard));
            guard
        };
        // The exchange before this one is over when all have taken what was shown.
        let mut state = wait(state.lock().expect("no rank has panicked"), &|s| s.shown.is_none());
        state.brought[self.rank] = Some((x, what));
        if state.brought.iter().all(Option::is_some) {
            let brought: Vec<_> = state.brought.iter_mut().filter_map(Option::take).collect();
            match brought.iter().all(|(_, other)| *other == what) {
                true => state.shown = Some(Arc::new(brought.into_iter().map(|(x, _)| x).collect())),
                false => state.differing = Some(calls(&brought)),
            }
            state.taken = 0;
            changed.notify_all();
        }
        let mut state = wait(state, &|s| s.shown.is_some() || s.differing.is_some());
        if let Some(calls) = state.differing.clone() {
            // Without the lock, so that the others end with the same words.
            drop(state);
            panic!("the ranks call for different exchanges: {calls:?}");
        }
        let shown = state.shown.clone().expect("waited for");
        state.taken += 1;
        if state.taken == self.size {
            state.shown = None;
            changed.notify_all();
        }
        shown
    }

    /// Folds everybody's numbers, element by element, in the order of the ranks.
    fn fold<T: bytemuck::Pod>(&self, x: &mut [T], what: &'static str, f: impl Fn(T, T) -> T) {
        let all = self.exchange(bytemuck::cast_slice(x).to_vec(), what);
        x.copy_from_slice(&bytemuck::allocation::pod_collect_to_vec::<u8, T>(&all[0]));
        for other in &all[1..] {
            let other = bytemuck::allocation::pod_collect_to_vec::<u8, T>(other);
            assert_eq!(x.len(), other.len(), "all ranks bring as much to `{what}`");
            x.iter_mut().zip(other).for_each(|(a, b)| *a = f(*a, b));
        }
    }
}

fn calls(brought: &[(Vec<u8>, &'static str)]) -> Vec<&'static str> {
    brought.iter().map(|(_, what)| *what).collect()
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({} of {})", self.rank, self.size)
    }
}

impl Comm for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn hosts(&self) -> Vec<String> {
        vec!["this process".to_owned(); self.size]
    }

    fn about(&self) -> String {
        format!("{} threads of one process", self.size)
    }

    fn sum_f32(&self, x: &mut [f32], what: &'static str) {
        self.fold(x, what, |a, b| a + b);
    }

    fn sum_f64(&self, x: &mut [f64], what: &'static str) {
        self.fold(x, what, |a, b| a + b);
    }

    fn max_f64(&self, x: &mut [f64], what: &'static str) {
        self.fold(x, what, f64::max);
    }

    fn gather(&self, x: &[u8], what: &'static str) -> Vec<u8> {
        self.exchange(x.to_vec(), what).concat()
    }

    fn reduce_scatter(&self, x: &[f32], what: &'static str) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.size), "{} values in {} blocks", x.len(), self.size);
        let mut sum = x.to_vec();
        self.sum_f32(&mut sum, what);
        let n = x.len() / self.size;
        sum[self.rank * n..][..n].to_vec()
    }

    fn all_to_all(
        &self,
        x: &[f32],
        sent: &[usize],
        received: &[usize],
        what: &'static str,
    ) -> Vec<f32> {
        assert_eq!(x.len(), sent.iter().sum::<usize>(), "all of `{what}` is sent");
        // The counts travel in front.
        let mut packet: Vec<u8> = sent.iter().flat_map(|n| (*n as u64).to_ne_bytes()).collect();
        packet.extend_from_slice(bytemuck::cast_slice(x));
        let all = self.exchange(packet, what);
        let head = 8 * self.size;
        let mut came = Vec::new();
        for (packet, expected) in all.iter().zip(received) {
            let counts: Vec<u64> = bytemuck::allocation::pod_collect_to_vec(&packet[..head]);
            let start: usize = counts[..self.rank].iter().map(|n| *n as usize).sum();
            let count = counts[self.rank] as usize;
            assert_eq!(count, *expected, "what is sent in `{what}` is what is waited for");
            let values = &packet[head + 4 * start..][..4 * count];
            came.extend(bytemuck::allocation::pod_collect_to_vec::<u8, f32>(values));
        }
        came
    }

    fn broadcast(&self, x: &mut [u8], root: usize, what: &'static str) {
        let all = self.exchange(x.to_vec(), what);
        x.copy_from_slice(&all[root]);
    }

    fn barrier(&self, what: &'static str) {
        self.exchange(Vec::new(), what);
    }

    fn abort(&self, code: i32) -> ! {
        panic!("rank {} ends the run with code {code}", self.rank)
    }

    fn finish(&self) {}
}

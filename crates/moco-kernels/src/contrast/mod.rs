//! Contrastive cross-entropy against a large matrix: InfoNCE over a queue, or softmax over a bank.
//!
//! Each query `q` has one positive `k` and many negatives `n_j`; with temperature `τ` (van den Oord
//! et al. 2018, arXiv 1807.03748; He et al. 2020, arXiv 1911.05722, Eq. 1):
//!
//! ```text
//! Z    = e^{q·k/τ} + Σ_j e^{q·n_j/τ}          loss = log Z - q·k/τ
//! dq   = (Σ_j p_j n_j - (1 - p_k) k) / τ       dk   = -(1 - p_k) q / τ        p = e^{·/τ} / Z
//! ```
//! The `[N, K]` logits never exist: a job holds 128 rows of the matrix against one panel of queries,
//! in L1, and carries a running maximum, sum and `Σ p_j n_j` (rescaled when the maximum grows, as
//! Milakov and Gimelshein 2018, arXiv 1805.02867). So the gradient comes out of the same pass as
//! the loss: two matrix products instead of three with a second pass, and the matrix is read once.
//!
//! Error: sums of at most 128 terms in f32, the rest in f64. For unit vectors, up to 9,000 negatives
//! and `τ >= 0.07`: losses within 3e-6 (relative above 1, absolute below), gradients within 1e-6
//! (relative Frobenius).

mod block;
mod scalar;
#[cfg(test)]
mod tests;

use crate::Isa;
use crate::gemm::{Panels, Strided};
use crate::threads::{Disjoint, Kept, for_each};
use block::{Block, Partial};

/// Sizes of a contrastive loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContrastShape {
    /// Queries, `N`.
    pub queries: usize,
    /// Length of a vector, `D`.
    pub dim: usize,
    /// Rows of the matrix, `K`.
    pub bank: usize,
}

impl ContrastShape {
    /// Operations of the logits, a multiply-add counted as two; the gradient takes as many again.
    pub fn flops(&self) -> f64 {
        2.0 * (self.queries * self.dim * self.bank) as f64
    }
}

/// Where each query's positive is.
#[derive(Clone, Copy, Debug)]
pub enum Positives<'a> {
    /// Vectors `[N, D]` beside the matrix, all of whose rows are negatives: InfoNCE over a queue.
    Vectors(&'a [f32]),
    /// Rows of the matrix, `[N]`; its other rows are the negatives: cross-entropy over a bank.
    Rows(&'a [usize]),
}

impl<'a> Positives<'a> {
    fn get(&self, bank: &'a [f32], dim: usize, query: usize) -> &'a [f32] {
        match self {
            Positives::Vectors(vectors) => &vectors[query * dim..][..dim],
            Positives::Rows(rows) => &bank[rows[query] * dim..][..dim],
        }
    }

    fn check(&self, shape: &ContrastShape) {
        match self {
            Positives::Vectors(vectors) => {
                assert_eq!(vectors.len(), shape.queries * shape.dim, "positives are [N, D]");
            }
            Positives::Rows(rows) => {
                assert_eq!(rows.len(), shape.queries, "one row per query");
                assert!(rows.iter().all(|&row| row < shape.bank), "rows lie in the matrix");
            }
        }
    }
}

/// The gradients that are wanted; the others cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContrastNeeds {
    /// `dq`
    pub queries: bool,
    /// `dk`
    pub positives: bool,
}

/// Losses and gradients of a batch of queries.
#[derive(Debug, Default)]
pub struct Contrast {
    /// Each query's loss, `[N]`.
    pub loss: Vec<f32>,
    /// `log Z`, `[N]`.
    pub log_sums: Vec<f32>,
    /// Whether the positive is closer than every negative, `[N]`. A tie is a miss, so collapsed
    /// vectors score zero.
    pub hits: Vec<bool>,
    /// The gradient of each query's own loss, `[N, D]`. For a mean over the batch multiply by `1 /
    /// N`, for any loss above by its gradient for each row.
    pub d_queries: Option<Vec<f32>>,
    /// The gradient of each positive's own loss, `[N, D]`.
    pub d_positives: Option<Vec<f32>>,
}

/// Queries per job.
const GROUP: usize = 256;
/// Parts that the matrix is cut into for a group of queries, at most.
const PARTS: usize = 32;

/// Contrastive losses of `queries` against the matrix `bank`, and their gradients.
///
/// # Shapes
/// `queries` `[N, D]`, `bank` `[K, D]`.
///
/// # Panics
/// When a slice does not have its shape's length, a positive's row is not in the matrix, or the
/// temperature is not positive.
pub fn contrast(
    isa: Isa,
    shape: &ContrastShape,
    queries: &[f32],
    positives: Positives,
    bank: &[f32],
    temperature: f32,
    needs: ContrastNeeds,
) -> Contrast {
    let ContrastShape { queries: count, dim, bank: rows } = *shape;
    assert_eq!(queries.len(), count * dim, "queries are [N, D] of {shape:?}");
    assert_eq!(bank.len(), rows * dim, "the matrix is [K, D] of {shape:?}");
    assert!(temperature > 0.0, "a temperature is positive");
    positives.check(shape);
    let isa = isa.for_channels(count);
    let plan = Plan::new(isa, shape, needs.queries);
    let mut memory = Kept::new(plan.groups * plan.parts * plan.partial.len());
    let scaled: Vec<f32> = queries.iter().map(|q| q / temperature).collect();
    let by_row = Strided { data: &scaled, row_stride: dim, k_stride: 1 };
    let panels = &Panels::pack(isa, by_row, count, dim);
    let shared = Disjoint::new(&mut memory);
    for_each(plan.groups * plan.parts, |job| {
        let (group, part) = (job / plan.parts, job % plan.parts);
        let len = plan.partial.len();
        isa.run(Block {
            dim,
            queries: group * GROUP..count.min((group + 1) * GROUP),
            rows: part * rows / plan.parts..(part + 1) * rows / plan.parts,
            panels,
            positives,
            bank,
            partial: plan.partial,
            // SAFETY: this part of the memory is this job's.
            memory: unsafe { shared.slice(job * len..(job + 1) * len) },
        });
    });
    finish(shape, &plan, &memory, (queries, positives, bank), temperature, needs)
}

/// How the work is cut; depends on the shape and the instruction set alone.
struct Plan {
    /// Groups of queries.
    groups: usize,
    /// Parts of the matrix.
    parts: usize,
    partial: Partial,
}

impl Plan {
    fn new(isa: Isa, shape: &ContrastShape, gradient: bool) -> Plan {
        let groups = shape.queries.div_ceil(GROUP);
        let parts = shape.bank.div_ceil(2 * block::CHUNK).clamp(1, PARTS.div_ceil(groups.max(1)));
        let queries = shape.queries.min(GROUP).next_multiple_of(isa.lanes());
        let deep = if gradient { shape.dim.next_multiple_of(isa.lanes()) } else { 0 };
        Plan { groups, parts, partial: Partial { queries, deep } }
    }
}

/// Joins the parts of each query, in f64 and in order.
fn finish(
    shape: &ContrastShape,
    plan: &Plan,
    memory: &[f32],
    (queries, positives, bank): (&[f32], Positives, &[f32]),
    temperature: f32,
    needs: ContrastNeeds,
) -> Contrast {
    let (count, dim) = (shape.queries, shape.dim);
    let new = |needed: bool| needed.then(|| vec![0.0f32; count * dim]);
    let (mut d_queries, mut d_positives) = (new(needs.queries), new(needs.positives));
    let mut rows = vec![Row::default(); count];
    let d_q = d_queries.as_mut().map(|d| Disjoint::new(d));
    let d_k = d_positives.as_mut().map(|d| Disjoint::new(d));
    let shared = Disjoint::new(&mut rows);
    for_each(count, |query| {
        let range = query * dim..(query + 1) * dim;
        let (q, k) = (&queries[range.clone()], positives.get(bank, dim, query));
        let parts = Parts { plan, memory, group: query / GROUP, query: query % GROUP };
        let row = parts.join(q, k, temperature);
        // SAFETY: this query's results are this job's.
        unsafe {
            shared.slice(query..query + 1)[0] = row;
            if let Some(d) = &d_q {
                parts.gradient(&row, k, temperature, d.slice(range.clone()));
            }
            if let Some(d) = &d_k {
                let factor = -row.rest / f64::from(temperature);
                let d = d.slice(range).iter_mut();
                d.zip(q).for_each(|(d, &q)| *d = (factor * f64::from(q)) as f32);
            }
        }
    });
    Contrast {
        loss: rows.iter().map(|row| row.loss as f32).collect(),
        log_sums: rows.iter().map(|row| row.log_sum as f32).collect(),
        hits: rows.iter().map(|row| row.hit).collect(),
        d_queries,
        d_positives,
    }
}

#[derive(Clone, Copy, Default)]
struct Row {
    loss: f64,
    log_sum: f64,
    hit: bool,
    /// The probability of all negatives together, `1 - p_k`.
    rest: f64,
}

/// What the jobs found out about one query.
struct Parts<'a> {
    plan: &'a Plan,
    memory: &'a [f32],
    group: usize,
    /// Within the group.
    query: usize,
}

impl Parts<'_> {
    /// Largest logit, sum of `e^{logit - largest}` and weighted sum of rows, for each part.
    fn iter(&self) -> impl Iterator<Item = (f64, f64, &[f32])> {
        let (partial, parts) = (self.plan.partial, self.plan.parts);
        let memory = &self.memory[self.group * parts * partial.len()..];
        memory.chunks(partial.len()).take(parts).map(move |part| {
            let (max, sum) = (part[self.query], part[partial.queries + self.query]);
            let weighted = &part[2 * partial.queries + self.query * partial.deep..];
            (f64::from(max), f64::from(sum), &weighted[..partial.deep])
        })
    }

    fn join(&self, q: &[f32], k: &[f32], temperature: f32) -> Row {
        let dot: f64 = q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
        let positive = dot / f64::from(temperature);
        let largest = self.iter().map(|part| part.0).fold(block::LOWEST.into(), f64::max);
        let shift = largest.max(positive);
        let others: f64 = self.iter().map(|(max, sum, _)| sum * (max - shift).exp()).sum();
        let own = (positive - shift).exp();
        let log_sum = shift + (own + others).ln();
        // Where the positive is the largest, its loss keeps its digits however small it is.
        let loss = if own == 1.0 { others.ln_1p() } else { log_sum - positive };
        Row { loss, log_sum, hit: positive > largest, rest: others / (own + others) }
    }

    fn gradient(&self, row: &Row, k: &[f32], temperature: f32, d: &mut [f32]) {
        let mut sum: Vec<f64> = k.iter().map(|&k| -row.rest * f64::from(k)).collect();
        for (max, _, weighted) in self.iter() {
            let weight = (max - row.log_sum).exp();
            for (sum, &value) in sum.iter_mut().zip(weighted) {
                *sum += weight * f64::from(value);
            }
        }
        for (d, sum) in d.iter_mut().zip(sum) {
            *d = (sum / f64::from(temperature)) as f32;
        }
    }
}

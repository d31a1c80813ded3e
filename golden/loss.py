"""InfoNCE over a queue (MoCo v1, Eq. 1), with the L2 normalisation inside the gradient."""

import torch
import torch.nn.functional as F
from torch import Tensor

from common import GoldenFile, in_both_precisions, normal, random, single


def info_nce_logits(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Logits `[N, 1 + K]`, the positive's first.

    q and k have unit rows `[N, D]`, the queue unit columns `[D, K]`.
    """
    l_pos = (q * k).sum(dim=1, keepdim=True)
    l_neg = q @ queue
    return torch.cat([l_pos, l_neg], dim=1) / temperature


def info_nce(logits: Tensor) -> Tensor:
    """Cross-entropy of the positive, which is class 0; mean over the batch."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def top_k_accuracy(logits: Tensor, k: int) -> Tensor:
    """Share of queries whose positive is among their k largest logits."""
    return (logits.topk(k, dim=1).indices == 0).any(dim=1).double().mean()


def make() -> list[GoldenFile]:
    """`info_nce`: the loss at MoCo v1's and v2's temperature."""
    n, dim, keys = 6, 16, 37
    rng = random(300)
    q = normal(rng, n, dim)
    # Keys from near their query to unrelated: some positives win, others do not.
    nearness = torch.linspace(1.0, 0.0, n)[:, None]
    k = nearness * q + 0.8 * normal(rng, n, dim)
    inputs = {"q": q, "k": k, "queue": F.normalize(normal(rng, dim, keys), dim=0)}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for label, temperature in (("t007", 0.07), ("t020", 0.2)):
            raw = inputs["q"].to(dtype, copy=True).requires_grad_()
            key = F.normalize(inputs["k"].to(dtype))
            logits = info_nce_logits(F.normalize(raw), key, inputs["queue"].to(dtype), temperature)
            loss = info_nce(logits)
            loss.backward()
            results |= {
                f"{label}.loss": loss.detach(),
                f"{label}.logits": logits.detach(),
                f"{label}.grad_q": raw.grad,
                f"{label}.top1": top_k_accuracy(logits, 1),
                f"{label}.top5": top_k_accuracy(logits, 5),
            }
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        "InfoNCE of q and k (both not yet normalised) against queue (unit columns) at T 0.07 "
        "(t007.*) and 0.2 (t020.*): loss, logits with the positive first, gradient for q as "
        "given, i.e. through its normalisation, and the shares of queries whose positive has "
        "the largest or one of the five largest logits."
    )
    return [GoldenFile("info_nce", holds, inputs | single(exact), agreement)]

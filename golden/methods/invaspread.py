"""InvaSpread (Ye et al. 2019, arXiv 1904.03436): instance softmax within the batch.

The published code detaches the second operand of every inner product, so that the gradient
reaches a row only through its own side; the paper's objective has no such stop. The code also
computes the negatives' sum over all j and takes the positive's term away again, which is NaN
where P(a+|a) = 1; here the sum runs over j outside {a, a+}, as in the paper.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from common import GoldenFile, in_both_precisions, normal, random, single
from methods.common import (
    BACKBONE,
    PIXELS,
    STEPS,
    encoder,
    final,
    initial,
    kink_margin,
    load,
    random_parameters,
    sgd_step,
    table,
    trajectory_file,
    views_of,
)
from resnet import watch_kinks
from trajectory import pixels

DIM, BATCH, SIZE, TEMPERATURE = 16, 6, 12, 0.1


def invaspread(z: Tensor, temperature: float, code: bool, neg_m: float = 1.0) -> Tensor:
    """The loss of unit rows `[2B, D]`, row a's partner being row a + B (mod 2B).

    `code` detaches the other side of every product. `neg_m` weighs the negatives in the
    denominator and their log terms (the code's negM).
    """
    n = len(z)
    scores = (z @ (z.detach() if code else z).T / temperature).exp()
    total = z.new_zeros(())
    for a in range(n):
        partner = (a + n // 2) % n
        others = [j for j in range(n) if j not in (a, partner)]
        denominator = scores[a, partner] + neg_m * scores[a, others].sum()
        total = total + (scores[a, partner] / denominator).log()
        total = total + neg_m * (1.0 - scores[a, others] / denominator).log().sum()
    return -total / n


def invaspread_matrix(z: Tensor, temperature: float, code: bool) -> Tensor:
    """The same with matrices, for neg_m = 1: the second opinion."""
    n = len(z)
    logits = z @ (z.detach() if code else z).T / temperature
    logits = logits.masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    log_p = logits.log_softmax(dim=1)
    partner = torch.arange(n).roll(n // 2)
    is_partner = F.one_hot(partner, n).bool()
    spread = torch.log1p(-log_p.exp().masked_fill(is_partner, 0.0)).sum()
    return -(log_p[is_partner].sum() + spread) / n


def make() -> list[GoldenFile]:
    """`invaspread_loss`, `invaspread_trajectory`."""
    return [loss_file(), trajectory(stream=1211)]


def loss_file() -> GoldenFile:
    """The loss in both readings, and with negM 2."""
    rng, batch = random(1200), 5
    anchor = normal(rng, batch, DIM)
    inputs = {"z": torch.cat([anchor, anchor + 0.7 * normal(rng, batch, DIM)])}
    variants = {
        "paper": {"code": False},
        "code": {"code": True},
        "code_neg2": {"code": True, "neg_m": 2.0},
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for name, options in variants.items():
            raw = inputs["z"].to(dtype, copy=True).requires_grad_()
            loss = invaspread(F.normalize(raw), TEMPERATURE, **options)
            loss.backward()
            results |= {f"{name}.loss": loss.detach(), f"{name}.grad_z": raw.grad}
            if "neg_m" not in options:
                peer = inputs["z"].to(dtype, copy=True).requires_grad_()
                invaspread_matrix(F.normalize(peer), TEMPERATURE, **options).backward()
                torch.testing.assert_close(peer.grad, raw.grad, rtol=1e-4, atol=1e-5)
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        f"InvaSpread on z [2B, D] (not yet normalised; row a + B is row a's partner), T "
        f"{TEMPERATURE}: loss and gradient for z as given. paper.*: gradient through both sides of "
        "every product; code.*: the second side detached; code_neg2.*: that with negM 2."
    )
    return GoldenFile("invaspread_loss", holds, inputs | single(exact), agreement)


def trajectory(stream: int) -> GoldenFile:
    """Five steps with either gradient, from one start."""
    rng = random(stream)
    params = random_parameters(encoder(DIM), rng)
    view1, view2 = views_of(rng, BATCH, [SIZE, SIZE])
    inputs = initial({"encoder": params}) | {
        "view1": view1,
        "view2": view2,
        "lr": table([0.03, 0.03, 0.03, 0.003, 0.0015]),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        paper, code = (run_one(params, inputs, dtype, code=code) for code in (False, True))
        margin = torch.minimum(paper.pop("kink_margin"), code.pop("kink_margin"))
        return paper | code | {"kink_margin": margin}

    holds = (
        f"{STEPS} steps of InvaSpread, twice from one start: paper.* and code.* (second side "
        f"detached). {BACKBONE}, fc to {DIM}, then L2; [view1, view2] of {BATCH} images in one "
        f"forward, T {TEMPERATURE}, negM 1, SGD at lr[step], momentum 0.9, weight decay 5e-4 on "
        f"everything. {PIXELS} initial.encoder.*; <kind>.loss per step, <kind>.final.encoder.*."
    )
    return trajectory_file("invaspread_trajectory", holds, inputs, run)


def run_one(params: dict, inputs: dict, dtype: torch.dtype, code: bool) -> dict[str, Tensor]:
    """The five steps with one gradient."""
    net = load(encoder(DIM), params, dtype)
    distances = watch_kinks(net)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in range(STEPS):
        both = torch.cat([inputs["view1"][step], inputs["view2"][step]])
        loss = invaspread(F.normalize(net(pixels(both).to(dtype))), TEMPERATURE, code)
        sgd_step(optimiser, loss, [inputs["lr"][step].item()])
        losses.append(loss.detach())
    results = {"loss": torch.stack(losses)} | final({"encoder": net})
    kind = "code" if code else "paper"
    return {f"{kind}.{n}": t for n, t in results.items()} | kink_margin(distances, dtype)

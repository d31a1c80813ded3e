"""InstDisc (Wu et al. 2018, arXiv 1805.01978): softmax over all instances, and NCE.

The published code is followed: the bank starts uniform in +-sqrt(3 / D) without normalisation, Z
is the first batch's mean(exp) * N and a constant from then on, sampled negatives may hit the
positive, and the bank's rows move after the logits have used them. The paper's proximal term
lambda |v - M|^2 is not in the code; it is compared by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from common import GoldenFile, in_both_precisions, normal, random, single, uniform
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

EPS = 1e-7
IMAGES, DIM, NEGATIVES, BATCH, SIZE = 20, 16, 9, 6, 12
TEMPERATURE, BANK_MOMENTUM = 0.1, 0.5


def full_softmax(v: Tensor, bank: Tensor, index: Tensor, temperature: float) -> Tensor:
    """Eq. 2: each instance is a class, the bank's rows are the classifier."""
    return F.cross_entropy(v @ bank.T / temperature, index)


def nce(scores: Tensor, z: float, images: int) -> Tensor:
    """The paper's J_NCE on exp(v . M_j / T) `[B, 1 + m]`, the positive first; sum over j, mean over B."""
    m = scores.shape[1] - 1
    p, noise = scores / z, m / images
    positive = (p[:, 0] / (p[:, 0] + noise + EPS)).log()
    negative = (noise / (p[:, 1:] + noise + EPS)).log()
    return -(positive.sum() + negative.sum()) / len(scores)


def bank_scores(v: Tensor, bank: Tensor, samples: Tensor, temperature: float) -> Tensor:
    """exp(v_b . M_j / T) for the rows j that `samples` [B, 1 + m] names."""
    return torch.einsum("bd,bjd->bj", v, bank[samples]).div(temperature).exp()


@torch.no_grad()
def update_bank(bank: Tensor, v: Tensor, index: Tensor, momentum: float) -> Tensor:
    """Row i becomes L2(m M_i + (1 - m) v), from the old rows; of equal indices the last wins."""
    after = bank.clone()
    for row, i in zip(v, index):
        after[i] = F.normalize(momentum * bank[i] + (1.0 - momentum) * row, dim=0)
    return after


def proximal(v: Tensor, bank: Tensor, index: Tensor) -> Tensor:
    """The paper's Eq. 10 without its weight: |v - M_i|^2, mean over B."""
    return (v - bank[index]).square().sum(dim=1).mean()


def random_bank(rng, images: int, dim: int) -> Tensor:
    """Uniform with expected squared norm 1 per row."""
    bound = (3.0 / dim) ** 0.5
    return uniform(rng, images, dim, low=-bound, high=bound)


def random_samples(rng, index: Tensor, images: int, negatives: int) -> Tensor:
    """Own index, then draws with replacement."""
    drawn = torch.from_numpy(rng.integers(0, images, (*index.shape, negatives)))
    return torch.cat([index[..., None], drawn], dim=-1)


def make() -> list[GoldenFile]:
    """`instdisc_loss`, `instdisc_trajectory`."""
    return [loss_file(), trajectory(stream=1114)]


def loss_file() -> GoldenFile:
    """Both losses on given features, and the bank afterwards."""
    rng, batch, temperature = random(1100), 5, 0.07
    inputs = {
        "v": normal(rng, batch, DIM),
        "v_second": normal(rng, batch, DIM),
        "bank": random_bank(rng, IMAGES, DIM),
        "index": torch.tensor([3, 17, 0, 17, 8]),
    }
    inputs["samples"] = random_samples(rng, inputs["index"], IMAGES, NEGATIVES)
    inputs["samples"][0, 4] = 3

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        bank, index, samples = inputs["bank"].to(dtype), inputs["index"], inputs["samples"]
        raw = inputs["v"].to(dtype, copy=True).requires_grad_()
        loss = full_softmax(F.normalize(raw), bank, index, temperature)
        loss.backward()
        results = {"softmax.loss": loss.detach(), "softmax.grad_v": raw.grad}
        raw = inputs["v"].to(dtype, copy=True).requires_grad_()
        distance = proximal(F.normalize(raw), bank, index)
        distance.backward()
        results |= {"proximal.loss": distance.detach(), "proximal.grad_v": raw.grad}
        z = None
        for name, features in (("nce", "v"), ("nce_second", "v_second")):
            raw = inputs[features].to(dtype, copy=True).requires_grad_()
            scores = bank_scores(F.normalize(raw), bank, samples, temperature)
            z = scores.mean().item() * IMAGES if z is None else z
            loss = nce(scores, z, IMAGES)
            loss.backward()
            results |= {f"{name}.loss": loss.detach(), f"{name}.grad_v": raw.grad}
        results["nce.z"] = torch.tensor(z, dtype=dtype)
        v = F.normalize(inputs["v"].to(dtype))
        results["bank_after"] = update_bank(bank, v, index, BANK_MOMENTUM)
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        f"InstDisc at T {temperature} with a bank of {IMAGES} rows (not normalised at the start): "
        "v (not yet normalised), index of each sample (17 twice), samples [B, 1 + 9] (own index, "
        "then negatives with replacement; sample 0's own index 3 occurs among them). softmax.*: "
        "cross-entropy over all rows. nce.*: NCE on samples, eps 1e-7, with nce.z = mean(exp) * "
        "20 over all of the first batch's scores, a constant for the gradient; nce_second.*: "
        "v_second with the same index, samples and bank, and Z still nce.z. grad_v is for the "
        "features as given. proximal.*: the squared distance from the own row. bank_after: rows L2(0.5 M + 0.5 v), of the two rows 17 the later."
    )
    return GoldenFile("instdisc_loss", holds, inputs | single(exact), agreement)


def trajectory(stream: int) -> GoldenFile:
    """Five steps with either loss, from one start."""
    rng = random(stream)
    params = random_parameters(encoder(DIM), rng)
    (view,) = views_of(rng, BATCH, [SIZE])
    index = torch.stack([torch.from_numpy(rng.permutation(IMAGES)[:BATCH]) for _ in range(STEPS)])
    inputs = initial({"encoder": params}) | {
        "view": view,
        "index": index,
        "samples": random_samples(rng, index, IMAGES, NEGATIVES),
        "bank_initial": random_bank(rng, IMAGES, DIM),
        "lr": table([0.03, 0.03, 0.03, 0.003, 0.003]),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        softmax, nce_results = (run_one(params, inputs, dtype, kind) for kind in ("softmax", "nce"))
        margin = torch.minimum(softmax.pop("kink_margin"), nce_results.pop("kink_margin"))
        return softmax | nce_results | {"kink_margin": margin}

    holds = (
        f"{STEPS} steps of InstDisc, twice from one start: softmax.* over all {IMAGES} rows and "
        f"nce.* on samples (Z from the first step's scores). {BACKBONE}, fc to {DIM}, then L2; "
        f"batch {BATCH}, T {TEMPERATURE}, bank momentum {BANK_MOMENTUM}, SGD at lr[step], momentum "
        "0.9, weight decay 5e-4 on everything; the bank moves after the loss, by the features of "
        f"that loss. {PIXELS} initial.encoder.*; <kind>.loss per step, <kind>.bank and "
        "<kind>.final.encoder.* after the last, nce.z."
    )
    return trajectory_file("instdisc_trajectory", holds, inputs, run)


def run_one(params: dict, inputs: dict, dtype: torch.dtype, kind: str) -> dict[str, Tensor]:
    """The five steps with one loss."""
    net = load(encoder(DIM), params, dtype)
    distances = watch_kinks(net)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
    bank, z, losses = inputs["bank_initial"].to(dtype), None, []
    for step in range(STEPS):
        index = inputs["index"][step]
        v = F.normalize(net(pixels(inputs["view"][step]).to(dtype)))
        if kind == "softmax":
            loss = full_softmax(v, bank, index, TEMPERATURE)
        else:
            scores = bank_scores(v, bank, inputs["samples"][step], TEMPERATURE)
            z = scores.mean().item() * IMAGES if z is None else z
            loss = nce(scores, z, IMAGES)
        sgd_step(optimiser, loss, [inputs["lr"][step].item()])
        bank = update_bank(bank, v.detach(), index, BANK_MOMENTUM)
        losses.append(loss.detach())
    results = {"loss": torch.stack(losses), "bank": bank} | final({"encoder": net})
    if z is not None:
        results["z"] = torch.tensor(z, dtype=dtype)
    return {f"{kind}.{n}": t for n, t in results.items()} | kink_margin(distances, dtype)

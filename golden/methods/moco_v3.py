"""MoCo v3 (Chen, Xie & He 2021, arXiv 2104.02057): symmetric, without a queue; ResNet and ViT.

Order as in the published code: the momentum network moves first, by the online weights of before
the step, then makes the keys. Both networks see view 1 before view 2. Each of the two terms is
2 T times the cross-entropy, and they add (Alg. 1). A BatchNorm at the end of a head has neither
scale nor shift. The ViT's patch projection and positions are fixed; AdamW decays all the rest,
biases too. LARS decays and adapts tensors of more than one dimension.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, normal, random, single
from methods.common import (
    ADAM_EPS,
    BACKBONE,
    PIXELS,
    STEPS,
    Lars,
    backbone,
    final,
    initial,
    kink_margin,
    load,
    mlp,
    move_average,
    random_parameters,
    sgd_step,
    stack,
    table,
    trajectory_file,
    views_of,
)
from optim import cosine, lars_moco_v3, warm_cosine
from resnet import watch_kinks
from trajectory import pixels
from vit import build, moco_v3_positions, random_state

MOMENTUM = 0.9
VIT = {"dim": 24, "heads": 3, "depth": 2, "size": 16, "patch": 4}


def contrast(q: Tensor, k: Tensor, temperature: float) -> Tensor:
    """2 T times the cross-entropy of each query with its key among the batch's keys."""
    logits = F.normalize(q) @ F.normalize(k.detach()).T / temperature
    return 2 * temperature * F.cross_entropy(logits, torch.arange(len(q)))


def make() -> list[GoldenFile]:
    """`moco_v3_loss`, `moco_v3_resnet_trajectory`, `moco_v3_vit_trajectory`."""
    return [loss_file(), resnet_trajectory(stream=1644), vit_trajectory(stream=1656)]


def loss_file() -> GoldenFile:
    """The symmetric loss at the two published temperatures."""
    rng = random(1600)
    q1 = normal(rng, 6, 16)
    inputs = {
        "q1": q1,
        "q2": normal(rng, 6, 16),
        "k1": normal(rng, 6, 16),
        "k2": q1 + 0.7 * normal(rng, 6, 16),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for label, temperature in (("t020", 0.2), ("t100", 1.0)):
            leaf = {n: t.to(dtype, copy=True).requires_grad_() for n, t in inputs.items()}
            loss = contrast(leaf["q1"], leaf["k2"], temperature)
            loss = loss + contrast(leaf["q2"], leaf["k1"], temperature)
            loss.backward()
            results[f"{label}.loss"] = loss.detach()
            results |= {f"{label}.grad_{n}": leaf[n].grad for n in ("q1", "q2")}
            for q, k in (("q1", "k2"), ("q2", "k1")):
                check_against_queue(inputs[q].to(dtype), inputs[k].to(dtype), temperature)
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        "MoCo v3's loss ctr(q1, k2) + ctr(q2, k1), each 2 T * cross-entropy against the batch's "
        "keys, of q1, q2, k1, k2 [N, D] (none normalised) at T 0.2 (t020.*) and 1.0 (t100.*), and "
        "its gradients for q1 and q2; the keys receive none."
    )
    return GoldenFile("moco_v3_loss", holds, inputs | single(exact), agreement)


def check_against_queue(q: Tensor, k: Tensor, temperature: float) -> None:
    """lightly's InfoNCE, sample by sample with the other keys as its queue."""
    terms = []
    for i in range(len(q)):
        others = F.normalize(torch.cat([k[:i], k[i + 1 :]]))
        peer = NTXentLoss(temperature, memory_bank_size=others.shape)
        peer.memory_bank.bank = others.clone()
        peer.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
        terms.append(peer(q[i : i + 1], k[i : i + 1]))
    torch.testing.assert_close(
        2 * temperature * torch.stack(terms).mean(), contrast(q, k, temperature)
    )


class Pair:
    """Online network, predictor, and the momentum network."""

    def __init__(self, net: nn.Module, head: nn.Module, temperature: float):
        self.net, self.head, self.temperature = net, head, temperature
        self.target = deepcopy(net).requires_grad_(False)

    def loss(self, x1: Tensor, x2: Tensor, momentum: float) -> Tensor:
        """Queries, then the average moves, then keys."""
        q1, q2 = self.head(self.net(x1)), self.head(self.net(x2))
        move_average(self.target, self.net, momentum)
        k1, k2 = self.target(x1), self.target(x2)
        return contrast(q1, k2, self.temperature) + contrast(q2, k1, self.temperature)

    def nets(self) -> dict[str, nn.Module]:
        """By their names in the file."""
        return {"online": self.net, "predictor": self.head, "target": self.target}


def schedules(peak: float) -> dict[str, Tensor]:
    """Rate with two steps of warm-up, momentum by a cosine to 1."""
    return {
        "lr": table(peak * warm_cosine(t, STEPS, 2) for t in range(STEPS)),
        "momentum": table(1 - (1 - MOMENTUM) * cosine(t, STEPS) for t in range(STEPS)),
    }


def resnet_trajectory(stream: int) -> GoldenFile:
    """Five steps of LARS at temperature 1."""
    rng, batch, decay = random(stream), 8, 1e-3
    widths = {"online": [32, 24, 16], "predictor": [16, 24, 16]}

    def networks() -> tuple[nn.Module, nn.Module]:
        projector = mlp(widths["online"], hidden_bias=False, last_bias=False, last_norm="plain")
        head = mlp(widths["predictor"], hidden_bias=False, last_bias=False)
        return stack(backbone=backbone(), projector=projector), head

    params = {n: random_parameters(m, rng) for n, m in zip(widths, networks())}
    view1, view2 = views_of(rng, batch, [12, 12])
    inputs = initial(params) | {"view1": view1, "view2": view2} | schedules(0.6)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        nets = [load(m, params[n], dtype) for n, m in zip(widths, networks())]
        pair = Pair(*nets, temperature=1.0)
        distances = watch_kinks(nn.ModuleList(nets))
        optimiser = Lars([p for m in nets for p in m.parameters()], lars_moco_v3, decay)
        losses = []
        for step in range(STEPS):
            x1, x2 = (pixels(inputs[v][step]).to(dtype) for v in ("view1", "view2"))
            loss = pair.loss(x1, x2, inputs["momentum"][step].item())
            loss.backward()
            optimiser.step(inputs["lr"][step].item())
            losses.append(loss.detach())
        results = {"loss": torch.stack(losses)} | final(pair.nets())
        return results | kink_margin(distances, dtype)

    holds = (
        f"{STEPS} steps of MoCo v3: {BACKBONE}; projector {widths['online']} with and predictor "
        f"{widths['predictor']} without a last BatchNorm (no scale, no shift), no biases. "
        f"{order()} Batch {batch}, T 1, LARS (lars, moco_v3 flavour) at lr[step], momentum 0.9, "
        f"decay {decay}. {PIXELS} {names()}"
    )
    return trajectory_file("moco_v3_resnet_trajectory", holds, inputs, run)


def vit_trajectory(stream: int) -> GoldenFile:
    """Five steps of AdamW at temperature 0.2 with a frozen patch projection."""
    rng, batch = random(stream), 8
    widths = {"online": [24, 20, 20, 16], "predictor": [16, 20, 16]}

    def networks() -> tuple[nn.Module, nn.Module]:
        vit = build(**VIT)
        vit.pos_embed.requires_grad_(False)
        for p in vit.patch_embed.proj.parameters():
            p.requires_grad_(False)
        heads = [
            mlp(w, hidden_bias=False, last_bias=False, last_norm="plain") for w in widths.values()
        ]
        return stack(backbone=vit, projector=heads[0]), heads[1]

    params = {}
    for name, net in zip(widths, networks()):
        params[name] = random_parameters(net, rng)
    vit = random_state(networks()[0].backbone, rng)
    vit["pos_embed"] = moco_v3_positions(4, 4, VIT["dim"]).float()
    params["online"] |= {f"backbone.{n}": p for n, p in vit.items()}
    view1, view2 = views_of(rng, batch, [16, 16])
    inputs = initial(params) | {"view1": view1, "view2": view2} | schedules(2e-3)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        nets = [load(m, params[n], dtype) for n, m in zip(widths, networks())]
        pair = Pair(*nets, temperature=0.2)
        distances = watch_kinks(nn.ModuleList(nets))
        trained = [p for m in nets for p in m.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=0.0, eps=ADAM_EPS, weight_decay=0.1)
        losses = []
        for step in range(STEPS):
            x1, x2 = (pixels(inputs[v][step]).to(dtype) for v in ("view1", "view2"))
            loss = pair.loss(x1, x2, inputs["momentum"][step].item())
            sgd_step(optimiser, loss, [inputs["lr"][step].item()])
            losses.append(loss.detach())
        results = {"loss": torch.stack(losses)} | final(pair.nets())
        return results | kink_margin(distances, dtype)

    holds = (
        f"{STEPS} steps of MoCo v3: ViT (timm's names) dim 24, depth 2, heads 3, image 16, patch "
        "4, class token after the final norm; patch_embed.proj frozen, pos_embed the fixed table "
        f"(vit_positions, moco_v3); projector {widths['online']} and predictor "
        f"{widths['predictor']}, both with a last BatchNorm (no scale, no shift), no biases. "
        f"{order()} Batch {batch}, T 0.2, AdamW betas (0.9, 0.999), eps {ADAM_EPS}, decay 0.1 on "
        f"everything trained, at lr[step]. {PIXELS} {names()}"
    )
    return trajectory_file("moco_v3_vit_trajectory", holds, inputs, run)


def order() -> str:
    """What happens within a step."""
    return (
        "Per step: q1, q2 of views 1, 2 through online and predictor; target (a copy at the "
        "start) moves with momentum[step] towards online as it is; k1, k2 through target; loss; "
        "optimiser."
    )


def names() -> str:
    """What the file holds."""
    return (
        "initial.{online,predictor}.*, loss per step, final.{online,predictor,target}.*; online "
        "and target hold backbone.* and projector.*. The predictor's running mean is 0 but for "
        "rounding and not stored."
    )

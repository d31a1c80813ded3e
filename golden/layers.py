"""Split BatchNorm: the module that the trajectories use, and its golden vectors.

MoCo's CIFAR-10 demo emulates one BatchNorm statistic per GPU on a single device: group g holds
the samples n with n mod groups = g, and the running statistics are the mean over the groups.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, nchw, nhwc, normal, random, single, uniform


class SplitBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over each of `groups` parts of the batch: part g has n with n mod groups = g."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.groups == 1:
            return super().forward(x)
        n, c, h, w = x.shape
        groups = self.groups
        # Sample n = a * groups + g becomes row a, channels g * c .. (g + 1) * c.
        folded = x.reshape(n // groups, groups * c, h, w)
        running = [s.repeat(groups) for s in (self.running_mean, self.running_var)]
        affine = [p.repeat(groups) for p in (self.weight, self.bias)]
        out = F.batch_norm(folded, *running, *affine, True, self.momentum, self.eps)
        self.running_mean.copy_(running[0].view(groups, c).mean(0))
        self.running_var.copy_(running[1].view(groups, c).mean(0))
        return out.reshape(n, c, h, w)


def make() -> list[GoldenFile]:
    """`split_bn`: one batch through 4 groups and through ordinary BatchNorm."""
    n, h, w, c = 16, 3, 3, 5
    rng = random(100)
    inputs = {
        "x": normal(rng, n, h, w, c, mean=0.3, std=1.5),
        "cotangent": normal(rng, n, h, w, c),
        "gamma": uniform(rng, c, low=0.5, high=1.5),
        "beta": normal(rng, c, std=0.3),
        "running_mean": normal(rng, c, std=0.5),
        "running_var": uniform(rng, c, low=0.5, high=2.0),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for groups in (4, 1):
            for name, value in batch_norm(inputs, groups, dtype).items():
                results[f"groups{groups}.{name}"] = value
        return results

    exact, agreement = in_both_precisions(run)
    check_against_separate_batches(inputs, exact)
    holds = (
        "BatchNorm over x with 4 interleaved groups (groups4.*) and as usual (groups1.*): output, "
        "gradients of sum(out * cotangent), running statistics after one training forward "
        "(momentum 0.1, unbiased variance, mean over groups, eps 1e-5), and the evaluation "
        "output with those statistics."
    )
    return [GoldenFile("split_bn", holds, inputs | single(exact), agreement)]


def batch_norm(inputs: dict[str, Tensor], groups: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """One training forward and backward, then one evaluation forward."""
    layer = SplitBatchNorm2d(len(inputs["gamma"]), groups).to(dtype)
    names = {"weight": "gamma", "bias": "beta"}
    names |= {name: name for name in ("running_mean", "running_var")}
    with torch.no_grad():
        for ours, stored in names.items():
            getattr(layer, ours).copy_(inputs[stored])
    x = nchw(inputs["x"]).to(dtype).requires_grad_()
    out = layer(x)
    (out * nchw(inputs["cotangent"])).sum().backward()
    layer.eval()
    return {
        "out": nhwc(out.detach()),
        "grad_x": nhwc(x.grad),
        "grad_gamma": layer.weight.grad,
        "grad_beta": layer.bias.grad,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
        "eval_out": nhwc(layer(x.detach()).detach()),
    }


def check_against_separate_batches(inputs: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """Split BatchNorm must equal a BatchNorm of its own over each x[g::groups]."""
    x = nchw(inputs["x"]).double()
    gamma, beta = inputs["gamma"].double(), inputs["beta"].double()
    for g in range(4):
        alone = F.batch_norm(x[g::4], None, None, gamma, beta, training=True)
        torch.testing.assert_close(nhwc(alone), exact["groups4.out"][g::4])
    variance = torch.stack([x[g::4].var(dim=(0, 2, 3), correction=1) for g in range(4)]).mean(0)
    expected = 0.9 * inputs["running_var"].double() + 0.1 * variance
    torch.testing.assert_close(expected, exact["groups4.running_var"])

"""SimCLR v2's networks, written down from the published definition, and their golden vectors.

ResNet-D's stem of three convolutions, an average before each projected skip connection, and selective
kernels: Chen et al. 2020 (arXiv 2006.10029), Sec. 3, as `resnet.py` of google-research/simclr has
them. TensorFlow's padding is written out: an average of 2x2 at stride 1 does not count what is beyond
the last row and column, one at stride 2 counts zeros there. The max-pool is torch's.

`agrees_with_timm` holds the parts against timm's, in double precision. Names are torchvision's and
timm's; `select` is ours.
"""

import timm.models.resnet
import torch
import torch.nn.functional as F
from timm.layers import SelectiveKernel
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, nchw, normal, random, single, uniform
from resnet import OUTPUTS, channel_signs, forward_backward, running_statistics, state_of

LEAST_HIDDEN = 32
NAME = "simclr_v2_network"


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class Average(nn.Module):
    """The mean of 2x2, with TensorFlow's padding behind the last row and column."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        def mean(x: Tensor) -> Tensor:
            return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, self.stride)

        return mean(x) if self.stride == 2 else mean(x) / mean(torch.ones_like(x))


class Select(nn.Module):
    """Two kernels' outputs, `[N, 2 C, H, W]`, to their mean with a weight for each channel."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=False)
        self.bn = nn.BatchNorm1d(hidden)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(hidden, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        streams = torch.stack(x.chunk(2, dim=1))
        hidden = self.relu(self.bn(self.fc1(streams.sum(0).mean((2, 3)))))
        weights = torch.stack(self.fc2(hidden).chunk(2, dim=1)).softmax(0)
        return (streams * weights[..., None, None]).sum(0)


class Block(nn.Module):
    """A bottleneck; `sk_ratio` of 0 is one kernel."""

    def __init__(self, inputs: int, width: int, stride: int, sk_ratio: float, projected: bool):
        super().__init__()
        kernels = 2 if sk_ratio else 1
        self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, kernels * width, 3, stride), nn.BatchNorm2d(kernels * width)
        hidden = max(int(width * sk_ratio), LEAST_HIDDEN)
        self.select = Select(width, hidden) if sk_ratio else nn.Identity()
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = nn.Identity()
        if projected:
            projection = conv(inputs, 4 * width, 1)
            self.downsample = nn.Sequential(Average(stride), projection, nn.BatchNorm2d(4 * width))
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.select(self.relu2(self.bn2(self.conv2(y))))
        return self.relu3(self.bn3(self.conv3(y)) + self.downsample(x))


class Network(nn.Module):
    def __init__(self, blocks: list[int], width: int, sk_ratio: float, outputs: int):
        super().__init__()
        half = width // 2
        self.conv1 = nn.Sequential(
            *(conv(3, half, 3, 2), nn.BatchNorm2d(half), nn.ReLU()),
            *(conv(half, half, 3), nn.BatchNorm2d(half), nn.ReLU()),
            conv(half, width, 3),
        )
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = width
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(Block(inputs, width << stage, stride, sk_ratio, projected=i == 0))
                inputs = 4 * width << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def narrow() -> Network:
    """Maps of 22, 11, 11, 6, 3 and 2 for images of 44: averages of odd maps and of even ones."""
    return Network([1, 2, 1, 1], width=4, sk_ratio=0.0625, outputs=OUTPUTS)


def make() -> list[GoldenFile]:
    """A narrow network: its state, and everything that follows from it."""
    agrees_with_timm()
    rng = random(1498)
    state = {name: random_tensor(name, t.shape, rng) for name, t in state_of(narrow()).items()}
    inputs = {"x": normal(rng, 6, 44, 44, 3), "cotangent": normal(rng, 6, OUTPUTS)}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = narrow()
        net.load_state_dict(state, strict=False)
        net.to(dtype)
        results = forward_backward(net, **inputs)
        results |= {f"after.{name}": value for name, value in running_statistics(net).items()}
        with torch.no_grad():
            results["eval_out"] = net.eval()(nchw(inputs["x"]).to(dtype))
        return results

    exact, agreement = in_both_precisions(run)
    held = {f"state.{name}": t for name, t in state.items()} | inputs | single(exact)
    about = (
        "SimCLR v2's network with [1, 2, 1, 1] bottlenecks, width 4, ResNet-D's stem and skips, "
        "selective kernels of ratio 0.0625, fc to 8: state, input x (NHWC) and cotangent; training "
        "output, pooled features, gradient of sum(out * cotangent) for every parameter, running "
        "statistics afterwards, and the evaluation output with those statistics."
    )
    return [GoldenFile(NAME, about, held, agreement)]


def random_tensor(name: str, shape: torch.Size, rng) -> Tensor:
    """As in resnet.py; the layers of a selection are wide enough that its weights are no halves."""
    if len(shape) > 1:
        gain = 8.0 if "fc2" in name else 2.0
        return normal(rng, *shape, std=(gain / torch.Size(shape[1:]).numel()) ** 0.5)
    if name.endswith("running_var"):
        return uniform(rng, *shape, low=0.5, high=2.0)
    if name.endswith("weight"):
        return uniform(rng, *shape, low=0.4, high=0.6)
    faces_relu = not any(part in name for part in ("bn3", "downsample", "fc"))
    if name.endswith("bias") and faces_relu:
        return channel_signs(*shape) * uniform(rng, *shape, low=0.9, high=1.3)
    return normal(rng, *shape, std=0.1)


def agrees_with_timm() -> None:
    """ResNet-D without selective kernels, and a selection, are timm's."""
    torch.manual_seed(0)
    ours = Network([1, 2, 1, 1], width=64, sk_ratio=0.0, outputs=10).double()
    theirs = timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck,
        [1, 2, 1, 1],
        num_classes=10,
        stem_width=32,
        stem_type="deep",
        avg_down=True,
    ).double()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    # timm averages where a map shrinks, SimCLR's code in the first stage too.
    theirs.layer1[0].downsample[0] = Average(1)
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    for mode in (True, False):
        assert torch.allclose(ours.train(mode)(x), theirs.train(mode)(x), rtol=1e-9), mode

    width, hidden = 8, 32
    both, ours = conv(width, 2 * width, 3).double(), Select(width, hidden).double()
    norm = nn.BatchNorm2d(2 * width).double()
    theirs = SelectiveKernel(width, width, kernel_size=[3, 3], rd_channels=hidden, split_input=False)
    theirs = theirs.double()
    with torch.no_grad():
        for path, weight in zip(theirs.paths, both.weight.chunk(2), strict=True):
            path.conv.weight.copy_(weight)
        theirs.attn.fc_reduce.weight.copy_(ours.fc1.weight[..., None, None])
        theirs.attn.fc_select.weight.copy_(ours.fc2.weight[..., None, None])
    x = torch.randn(5, width, 7, 7, dtype=torch.float64)
    assert torch.allclose(ours(norm(both(x)).relu()), theirs(x), rtol=1e-9)


if __name__ == "__main__":  # the margins of some streams
    import sys

    for stream in range(1400, 1400 + int(sys.argv[1])):
        rng = random(stream)
        state = {name: random_tensor(name, t.shape, rng) for name, t in state_of(narrow()).items()}
        net = narrow()
        net.load_state_dict(state, strict=False)
        x, cotangent = normal(rng, 6, 44, 44, 3), normal(rng, 6, OUTPUTS)
        print(stream, forward_backward(net.double(), x, cotangent)["kink_margin"].item())

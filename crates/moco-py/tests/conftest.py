"""Images and a short run that several tests look at."""

import numpy as np
import pytest
from PIL import Image

import moco

SETTINGS = {"model.width": 8, "model.bn_groups": 1, "method.queue": 64}


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Two classes of 32 little pictures: reddish and bluish noise."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, channel in [("blue", 2), ("red", 0)]:
        (folder / name).mkdir()
        for i in range(32):
            pixels = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="session")
def run(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    result = moco.pretrain(
        images, out, method="moco-v2", epochs=2, batch_size=16, settings=SETTINGS, progress=False
    )
    assert result["steps"] == 8 and not result["stopped"]
    return out

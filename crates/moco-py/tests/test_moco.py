"""The package as a user meets it. `pip install .[test]`, then `pytest`."""

import json

import numpy as np
import pytest
from PIL import Image

import moco


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
    settings = {"model.width": 8, "model.bn_groups": 1, "method.queue": 64}
    result = moco.pretrain(
        images, out, method="moco-v2", epochs=2, batch_size=16, settings=settings, progress=False
    )
    assert result["steps"] == 8 and not result["stopped"]
    return out


def test_a_run_can_be_loaded_and_embeds_paths_files_and_pixels_alike(images, run):
    encoder = moco.load_encoder(run)
    files = sorted(images.glob("*/*.png"))
    whole = encoder.embed(images)
    assert whole.shape == (64, encoder.dim) and whole.dtype == np.float32
    np.testing.assert_array_equal(encoder.embed(files), whole)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_array_equal(encoder.embed(pixels), whole)
    assert "normalize" in encoder.view and "Encoder" in repr(encoder)


def test_weights_are_arrays_under_torchvision_names(run):
    state = moco.load_encoder(run).state_dict()
    assert state["conv1.weight"].shape == (8, 3, 3, 3)
    assert state["layer4.1.bn2.running_var"].dtype == np.float32


def test_nearest_neighbours_tell_the_colours_apart(images, run):
    features = moco.load_encoder(run).embed(images)
    labels = np.repeat([0, 1], 32)
    even = np.arange(64) % 2 == 0
    top1 = moco.knn(features[even], labels[even], features[~even], labels[~even], k=5)
    assert top1 == 1.0


def test_metrics_and_configuration_lie_in_the_folder(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines and (run / "config.toml").read_text()


def test_the_doctor_counts(images):
    report = moco.doctor(images)
    assert 64 in report.values()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: moco.load_encoder("no-such-folder"), "no-such-folder"),
        (lambda: moco.pretrain("no-such-images", "runs/x"), "no-such-images"),
        (lambda: moco.knn(np.zeros((2, 3), "f"), [0], np.zeros((1, 3), "f"), [0]), "labels"),
    ],
)
def test_errors_name_the_thing(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(moco.MocoError, match=words):
        call()

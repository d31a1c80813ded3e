"""Encoders of runs and of other programs. `pip install .[test]`, then `pytest`."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import moco

CHECKPOINTS = Path(__file__).resolve().parents[3] / "golden/checkpoints"


def test_a_run_embeds_paths_files_and_pixels_alike(images, run):
    encoder = moco.load_encoder(run)
    files = sorted(images.glob("*/*.png"))
    whole = encoder.embed(images)
    assert whole.shape == (64, encoder.dim) and whole.dtype == np.float32
    assert np.isfinite(whole).all() and whole.std(0).max() > 0
    np.testing.assert_array_equal(encoder.embed(files), whole)
    np.testing.assert_array_equal(encoder.embed([str(file) for file in files[:5]]), whole[:5])
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_array_equal(encoder.embed(pixels), whole)
    np.testing.assert_array_equal(encoder.embed(pixels[::-2]), whole[::-2])
    assert encoder.embed(pixels[:0]).shape == (0, encoder.dim)
    assert "normalize" in encoder.view and "Encoder" in repr(encoder)
    assert encoder.embed(images, "head").shape[0] == 64


def test_weights_are_arrays_under_torchvision_names(run):
    state = moco.load_encoder(run).state_dict()
    assert state["conv1.weight"].shape == (8, 3, 3, 3)
    assert state["layer4.1.bn2.running_var"].dtype == np.float32


def test_torch_takes_weights_without_a_copy(run):
    torch = pytest.importorskip("torch")
    for name, array in moco.load_encoder(run).state_dict().items():
        assert array.flags.writeable and array.flags.c_contiguous, name
        assert torch.from_numpy(array).data_ptr() == array.ctypes.data, name


@pytest.mark.parametrize(
    "name, options, weight",
    [
        ("torchvision_resnet18_float16.pth", {}, "layer4.1.conv2.weight"),
        ("dino_backbone.pth", {"heads": 3}, "blocks.1.attn.qkv.weight"),
        ("timm_vit_avg_pool.safetensors", {"heads": 3}, "blocks.1.attn.qkv.weight"),
    ],
)
def test_weights_of_other_programs(name, options, weight, images):
    encoder = moco.load_encoder(CHECKPOINTS / name, **options)
    assert any("layout" in note for note in encoder.notes), encoder.notes
    assert encoder.state_dict()[weight].ndim in (2, 4)
    features = encoder.embed(images / "red")
    assert features.shape == (32, encoder.dim) and np.isfinite(features).all()


def test_values_are_those_that_torch_saved():
    torch = pytest.importorskip("torch")
    path = CHECKPOINTS / "torchvision_resnet18_float16.pth"
    state = moco.load_encoder(path).state_dict()
    saved = torch.load(path, map_location="cpu")
    for name, array in state.items():
        np.testing.assert_array_equal(array, saved[name].float().numpy(), err_msg=name)
    assert len(state) > 60


def test_a_repository_in_the_cache_of_hugging_face(tmp_path, monkeypatch):
    repository = tmp_path / "hub/models--org--name"
    snapshot = repository / "snapshots/abc123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("abc123")
    for file, name in [("config.json", "hf_vit_model.config.json"),
                       ("model.safetensors", "hf_vit_model.safetensors")]:
        (snapshot / file).write_bytes((CHECKPOINTS / name).read_bytes())
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cached = moco.load_encoder("hf://org/name").state_dict()
    local = moco.load_encoder(snapshot).state_dict()
    assert cached.keys() == local.keys() and len(cached) > 20
    with pytest.raises(moco.MocoError, match="HF_HUB_OFFLINE"):
        moco.load_encoder("hf://org/other")


def test_a_view_of_ones_own(run):
    view = "resize(16) center(16) normalize(imagenet)"
    encoder = moco.load_encoder(run, view=view)
    assert "16" in encoder.view
    assert encoder.embed(np.zeros((2, 40, 30, 3), np.uint8)).shape == (2, encoder.dim)


def test_other_threads_go_on_while_it_computes(run):
    encoder = moco.load_encoder(run)
    pixels = np.random.default_rng(1).integers(0, 256, (3000, 64, 64, 3), np.uint8)
    stamps, done = [], threading.Event()

    def tick():
        while not done.is_set():
            stamps.append(time.monotonic())
            time.sleep(0.001)

    ticking = threading.Thread(target=tick)
    ticking.start()
    begun = time.monotonic()
    encoder.embed(pixels)
    ended = time.monotonic()
    done.set()
    ticking.join()
    # Without the lock released there would be a pause as long as the whole call.
    during = [begun, *(stamp for stamp in stamps if begun < stamp < ended), ended]
    assert max(np.diff(during)) < (ended - begun) / 2, ended - begun


def test_several_threads_share_an_encoder(images, run):
    encoder = moco.load_encoder(run)
    expected, found = encoder.embed(images), {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: encoder.embed(images)}))
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for features in found.values():
        np.testing.assert_array_equal(features, expected)


def test_nearest_neighbours_tell_the_colours_apart(images, run):
    features = moco.load_encoder(run).embed(images)
    labels = np.repeat([0, 1], 32)
    even = np.arange(64) % 2 == 0
    top1 = moco.knn(features[even], labels[even], features[~even], labels[~even], k=5)
    assert top1 == 1.0
    swapped = moco.knn(features[even], labels[even], features[~even], 1 - labels[~even], k=5)
    assert swapped == 0.0

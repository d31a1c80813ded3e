"""What a person can mend is a MocoError of one sentence."""

import numpy as np
import pytest

import moco
from test_encoder import CHECKPOINTS

CALLS = [
    (lambda *_: moco.load_encoder("no-such-folder"), "no-such-folder"),
    (lambda *_: moco.load_encoder("hf://no-name"), "hf://ORG/NAME"),
    (lambda *_: moco.load_encoder(CHECKPOINTS / "hostile_code.pth"), "run code"),
    (lambda *_: moco.load_encoder(CHECKPOINTS / "dino_backbone.pth"), "heads"),
    (lambda *_: moco.load_encoder("x.pth", layout="nonsense"), "known are"),
    (lambda *_: moco.load_encoder("x.pth", device="nonsense"), "nonsense"),
    (lambda run, _: moco.load_encoder(run, view="nonsense(3)"), "nonsense"),
    (lambda *_: moco.pretrain("no-such-images", "runs/x"), "no-such-images"),
    (lambda _, images: moco.pretrain(images, "x", method="nonsense"), "nonsense"),
    (lambda _, images: moco.pretrain(images, "x", settings={"optim.lrr": 1}), "optim.lr"),
    (lambda _, images: moco.pretrain(images, "x", settings={"optim.lr": {}}), "a setting is"),
    (lambda *_: moco.doctor("no-such-images"), "no-such-images"),
    (lambda run, _: moco.load_encoder(run).embed("no-such-images"), "no-such-images"),
    (lambda run, _: moco.load_encoder(run).embed(["no-such.png"]), "no-such.png"),
    (lambda run, images: moco.load_encoder(run).embed(images, "nonsense"), "use one of"),
    (lambda run, _: moco.load_encoder(run).embed(np.zeros((2, 8, 8, 3))), "uint8"),
    (lambda run, _: moco.load_encoder(run).embed(np.zeros((2, 8, 8, 4), "u1")), "uint8"),
    (lambda run, _: moco.load_encoder(run).embed(3), "embed takes"),
    (lambda *_: moco.knn(np.zeros((2, 3), "f"), [0], np.zeros((1, 3), "f"), [0]), "labels"),
    (lambda *_: moco.knn(np.zeros((1, 3), "f"), [-1], np.zeros((1, 3), "f"), [0]), "from 0"),
    (lambda *_: moco.knn(np.zeros((1, 3), "f"), [0], np.zeros((1, 2), "f"), [0]), "columns"),
    (lambda *_: moco.knn(np.zeros((1, 3), "f"), [0], np.zeros((1, 3), "f"), [0], k=0), "k of"),
]


@pytest.mark.parametrize("call, words", CALLS)
def test_errors_name_the_thing(call, words, run, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(moco.MocoError, match=words) as caught:
        call(run, images)
    sentence = str(caught.value)
    assert "\n" not in sentence and isinstance(caught.value, ValueError)
    assert not list(tmp_path.iterdir()), "something was made"


@pytest.mark.parametrize(
    "thing", [moco, moco.Encoder, moco.Encoder.embed, moco.Encoder.state_dict, moco.load_encoder,
              moco.pretrain, moco.doctor, moco.knn, moco.MocoError]
)
def test_everything_says_what_it_is(thing):
    assert len(thing.__doc__) > 30

"""Runs, their folders, Ctrl-C, and the doctor."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import moco
from conftest import SETTINGS


def test_metrics_and_configuration_lie_in_the_folder(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines and 'name = "moco-v2"' in (run / "config.toml").read_text()
    assert (run / "encoder.safetensors").stat().st_size > 10_000


def test_progress_is_printed_through_python(images, tmp_path, capsys):
    moco.pretrain(images, tmp_path / "r", method="moco-v2", epochs=1, batch_size=16, settings=SETTINGS)
    out = capsys.readouterr().out
    assert "epoch 1: loss" in out and "images/s" in out, out


def test_a_run_goes_on_with_its_own_settings_alone(images, run, capsys):
    again = {"method": "moco-v2", "batch_size": 16, "settings": SETTINGS}
    assert moco.pretrain(images, run, epochs=2, **again)["steps"] == 8
    assert "going on after step 8 of 8" in capsys.readouterr().out
    with pytest.raises(moco.MocoError, match="train.epochs is 2 .* and 3 is asked for"):
        moco.pretrain(images, run, epochs=3, **again)


def test_a_run_starts_from_weights(images, run, tmp_path, capsys):
    moco.pretrain(images, tmp_path / "r", init=run, epochs=1, batch_size=16, settings={
        "method.queue": 64, "model.bn_groups": 1})
    assert "from the file: " in capsys.readouterr().out


def test_other_threads_go_on_while_it_trains(images, tmp_path):
    count, done = [0], threading.Event()

    def tick():
        while not done.is_set():
            count[0] += 1
            time.sleep(0.001)

    ticking = threading.Thread(target=tick)
    ticking.start()
    begun = time.monotonic()
    moco.pretrain(images, tmp_path / "r", method="moco-v2", epochs=2, batch_size=16,
                  settings=SETTINGS, progress=False)
    seconds = time.monotonic() - begun
    done.set()
    ticking.join()
    # A hundred a second of a thousand that there could be: the machine may be busy.
    assert count[0] > 100 * seconds, (count[0], seconds)


LONG = """
import sys, moco
try:
    moco.pretrain(sys.argv[1], sys.argv[2], method="moco-v2", epochs=2000, batch_size=16,
                  settings={"model.width": 8, "model.bn_groups": 1, "method.queue": 64})
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_saves_the_run_and_it_goes_on(images, tmp_path):
    out = tmp_path / "r"
    command = [sys.executable, "-u", "-c", LONG, str(images), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 2:"):
            os.kill(process.pid, signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and rest.splitlines()[-1] == "interrupted", rest
    assert list((out / "checkpoints").glob("step-*.safetensors"))
    result = moco.pretrain(images, out, progress=False, settings={"train.max_steps": 40})
    assert result["steps"] == 40 and not result["stopped"]


def test_ctrl_c_ends_an_embedding(run):
    code = (
        "import sys, numpy, moco\n"
        "encoder = moco.load_encoder(sys.argv[1])\n"
        "pixels = numpy.zeros((200_000, 32, 32, 3), numpy.uint8)\n"
        "print('ready')\n"
        "encoder.embed(pixels)\n"
    )
    command = [sys.executable, "-u", "-c", code, str(run)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors, errors


def test_the_doctor_counts(images):
    report = moco.doctor(images)
    assert 64 in report.values()

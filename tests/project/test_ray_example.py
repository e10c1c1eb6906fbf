"""The example of Ray Data on two workers, one of which is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from decomprec.models import DecompositionSegmenter, SmallEncoder
from decomprec.trained_model import TrainedModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_with_ray.py"
IMAGES = 60
PATIENCE = 1200  # seconds, of a busy machine; it takes less than one minute


def workers(driver: psutil.Process) -> list[psutil.Process]:
    """Processes that segment."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    segmenter = DecompositionSegmenter(3, SmallEncoder((4, 8)), decoder_widths=(8, 4)).eval()
    torch.nn.init.normal_(segmenter.mask_decoder.get_submodule("head.0").weight, std=30.0)
    model = TrainedModel(segmenter, ["cat", "dog"], 64)
    model.save_pretrained(tmp_path / "model", half=False)
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        file = tmp_path / "photos" / f"{index % 3}" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        coarse.resize((300, 240)).save(file)
    (tmp_path / "photos" / "broken.jpg").write_text("no image")

    words = ["photos", "--out", "drawn", "--model", "model", "--workers", "2", "--batch", "2"]
    environment = {**os.environ, "RAY_ADDRESS": "local", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
    call = subprocess.Popen(
        [sys.executable, str(EXAMPLE), *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started, driver, killed = time.monotonic(), psutil.Process(call.pid), None
        while killed is None and call.poll() is None and time.monotonic() < started + PATIENCE:
            if list((tmp_path / "drawn").rglob("*.png")):
                killed = next(iter(workers(driver)), None)
            time.sleep(0.02)
        assert killed is not None, call.communicate(timeout=10)
        killed.kill()
        before = len(list((tmp_path / "drawn").rglob("*.png")))
        stdout, stderr = call.communicate(timeout=PATIENCE)
    finally:
        call.kill()
    assert before < IMAGES  # there was work left
    assert f"{IMAGES} of {IMAGES + 1} images drawn" in stdout, stderr
    assert "broken.jpg to be an image" in stderr
    assert call.returncode == 1  # of the broken one
    for file in sorted((tmp_path / "photos").rglob("*.png")):
        with Image.open(tmp_path / "drawn" / file.relative_to(tmp_path / "photos")) as mask:
            labels = np.array(mask)
        expected = model(file).label_map.numpy()
        assert (labels != expected).mean() < 1e-3  # but for ties
        assert labels.any()

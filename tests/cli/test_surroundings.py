"""Consoles of any encoding, jobs of several processes, names that are too long, and folders that overlap."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from PIL import Image
from support.cli_run import SETTINGS, call, data, red_square, run, save, sentence
from typer.testing import CliRunner

from decomprec.cli import app
from decomprec.cli.surroundings import check_apart, is_first, settle_ranks
from decomprec.data.formats.coco import coco_label_maps
from decomprec.trained_model import Prediction

__all__ = ["data", "run"]  # fixtures

JOB = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train.sh", "SLURM_NNODES": "1", "SLURM_NODELIST": "node1"}
RANKS = {
    "sbatch --ntasks=4": {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
    "srun": {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"},
    "torchrun": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.255.255.1", "MASTER_PORT": "9"},
    "mpirun": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
}


LAUNCHED = {  # by as many processes as the command is for: devices, nodes
    "torchrun": (
        TorchElasticEnvironment,
        (2, 2),
        {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
        | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "1"},
    ),
    "srun": (
        SLURMEnvironment,
        (4, 1),
        {**JOB, "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}
        | {"SLURM_NODEID": "0", "SLURM_JOB_NAME": "interactive"},  # that of salloc
    ),
    "Lightning": (
        LightningEnvironment,
        (2, 1),
        {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4"},
    ),
}


@pytest.mark.parametrize("launcher", RANKS)
def test_ranks_are_left_out_and_that_is_said(launcher: str) -> None:
    environment = {**JOB, **RANKS[launcher], "HOME": "/root"}
    said = settle_ranks(environment)
    assert said is not None
    assert said.startswith("one process: ")
    assert environment == {**JOB, "HOME": "/root"}
    assert settle_ranks(environment) is None


def test_one_process_of_one_says_nothing() -> None:
    assert settle_ranks({"RANK": "0", "WORLD_SIZE": "1", "SLURM_NTASKS": "1"}) is None


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_the_launcher_that_started_the_processes_is_obeyed(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, (devices, nodes), variables = LAUNCHED[launcher]
    others = RANKS["mpirun"] | ({} if launcher == "srun" else RANKS["sbatch --ntasks=4"])
    for chosen in (devices, 0):
        environment = {**others, **variables}
        assert settle_ranks(environment, chosen, nodes) is None
        assert {*variables} - {*environment} <= {"SLURM_JOB_NAME"}
        assert not {*others} - {*variables} & {*environment} - {"SLURM_NTASKS_PER_NODE"}
        assert not is_first(environment)
    for name in {*RANKS["mpirun"], *RANKS["torchrun"], *RANKS["srun"]}:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = next(e for e in (TorchElasticEnvironment, SLURMEnvironment, LightningEnvironment) if e.detect())
    assert found is kind
    place = found()
    place.validate_settings(devices, nodes)
    assert place.creates_processes_externally
    assert place.local_rank() == int(variables.get("LOCAL_RANK", variables.get("SLURM_LOCALID", "")))
    if launcher != "Lightning":  # which is told later
        assert place.world_size() == devices * nodes
        assert place.global_rank() == 3


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_another_number_of_processes_is_refused(launcher: str) -> None:
    _, (devices, nodes), variables = LAUNCHED[launcher]
    started = devices * nodes
    message = (
        f"Expected {launcher} to start .* it has started {started}; choose `devices` times `nodes` to be {started}"
    )
    for wrong in ((devices + 1, nodes), (devices, nodes + 1), (0, 3)):
        with pytest.raises(ValueError, match=message):
            settle_ranks({**variables}, *wrong)
    assert str(settle_ranks({**variables})).startswith("one process: ")  # of a command that is for one


def test_a_batch_script_is_no_launcher() -> None:
    environment = {**JOB, **RANKS["sbatch --ntasks=4"]}
    assert settle_ranks(environment, 2) == "no launcher: SLURM_NTASKS=4 of the job around it is not for this command"
    assert environment == JOB
    assert is_first(environment)


def test_several_machines_need_a_launcher_or_an_address() -> None:
    with pytest.raises(ValueError, match="2 `nodes`, but found none; use torchrun or srun, or set MASTER_ADDR"):
        settle_ranks({}, 4, 2)
    by_hand = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4", "NODE_RANK": "1"}
    environment = dict(by_hand)
    assert settle_ranks(environment, 4, 2) is None
    assert environment == by_hand
    assert not is_first(environment)


@pytest.mark.slow
def test_a_task_of_a_job_trains_as_one_process(data: Path, tmp_path: Path) -> None:
    """Each of the variables alone makes Lightning refuse, wait for others, or write neither logs nor model."""
    words = ["train", str(data), "--out", str(tmp_path / "run"), "--preset", "demo", *SETTINGS, "--device", "cpu"]
    short = ["--set", "guide.epochs=1", "--set", "segmenter.batch_size=16", "--workers", "0"]
    environment = {**os.environ, **JOB, **RANKS["srun"], **RANKS["torchrun"], "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "decomprec", *words, *short]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "one process: " in done.stderr
    for stage in ("guide", "segmenter"):
        assert list((tmp_path / "run" / stage).rglob("metrics.csv"))
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("charset", ["ascii", "cp1252", "utf-8"])
def test_a_console_that_lacks_letters(charset: str, run: Path, tmp_path: Path) -> None:
    image, mask = red_square(0, present=True)
    name = "\N{CJK UNIFIED IDEOGRAPH-72D7}\udce9"  # of which no console has the last
    save(tmp_path / "photos" / f"{name}.png", image)
    save(tmp_path / "truth" / f"{name}.png", mask)
    (tmp_path / "photos" / f"{name}2.png").write_bytes(b"damaged")
    runner = CliRunner(charset=charset)
    out = tmp_path / "\N{CJK UNIFIED IDEOGRAPH-72D7}"
    done = runner.invoke(app, ["predict", str(run), str(tmp_path / "photos"), "--out", str(out), "--device", "cpu"])
    assert done.exit_code == 1
    assert "1 of 2 images drawn" in done.stdout
    assert "not drawn: " in done.stdout
    assert (r"\u72d7" in done.stdout) == (charset == "cp1252")
    classes = out / "masks" / "classes.txt"
    classes.write_text("background\n\N{CJK UNIFIED IDEOGRAPH-72D7}\n", encoding="utf-8")
    words = ["evaluate", str(out / "masks"), str(tmp_path / "truth"), "--json", str(tmp_path / "scores.json")]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "scores.json").is_file()


def test_a_results_name_that_would_be_too_long_is_cut(run: Path, tmp_path: Path) -> None:
    image, _ = red_square(0, present=True)
    long = ["n" * 251, "\N{CJK UNIFIED IDEOGRAPH-72D7}" * 83]
    for name in long:
        save(tmp_path / "photos" / f"{name}.png", image)
    for letter in "ab":  # longer by one than what leaves room for .png
        file = save(tmp_path / "photos" / "short.sgi", image)
        file.rename(tmp_path / "photos" / f"{letter * 252}.bw")
    words = [run, tmp_path / "photos", "--out", tmp_path / "out", "--probabilities", "--device", "cpu"]
    result = call("predict", *words)
    assert result.exit_code == 0, result.output
    drawn = {file.stem for file in (tmp_path / "out" / "masks").glob("*.png")}
    assert len(drawn) == 4
    assert set(long) <= drawn
    assert {name[:200] for name in drawn - set(long)} == {"a" * 200, "b" * 200}
    exported = tmp_path / "masks.json"
    assert call("export-labels", tmp_path / "out", "--to", "coco", "--out", exported).exit_code == 0
    assert {Path(name).stem for name, _ in coco_label_maps(exported)} == drawn


def test_what_cannot_be_written_stops_no_other(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, _ = red_square(0, present=True)
    for name in "abc":
        save(tmp_path / "photos" / f"{name}.png", image)
    whole = Prediction.save

    def saved(self: Any, path: Path, **options: Any) -> None:
        if path.stem == "b":
            raise OSError(number, "no", str(path))
        whole(self, path, **options)

    monkeypatch.setattr(Prediction, "save", saved)
    words = ["predict", run, tmp_path / "photos", "--out", tmp_path / "out", "--device", "cpu"]
    number = errno.EACCES
    result = call(*words)
    assert result.exit_code == 1
    assert "2 of 3 images drawn" in result.stdout
    assert f"not drawn: {tmp_path / 'photos' / 'b.png'}\n" in result.stdout
    assert {file.stem for file in (tmp_path / "out" / "masks").glob("*.png")} == {"a", "c"}
    number = errno.ENOSPC  # no other could be written
    result = call(*words)
    assert result.exit_code == 1
    assert "images drawn" not in result.stdout


def test_folders_of_results_are_apart_from_the_images(data: Path, run: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data)
    for out, relation in (
        (data, "which is the same folder"),
        (link, "which is the same folder"),
        (data / "run", "which lies in it"),
        (data / "train" / ".." / "run", "which lies in it"),
        (data.parent, "which holds it"),
    ):
        message = f"Expected --out to be apart from the images in {data}, but got {out}, {relation}; choose another"
        assert message in sentence("train", data, "--out", out, "--device", "cpu")
    for out in (data, data.parent):
        message = "Expected --out to be apart from the images"
        assert message in sentence("predict", run, data, "--out", out, "--device", "cpu")
    assert not (data / "run").exists()


def test_a_list_may_have_its_results_below_it(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").touch()
    check_apart(tmp_path / "tags.csv", tmp_path / "run")
    with pytest.raises(ValueError, match="which is the same folder"):
        check_apart(tmp_path / "tags.csv", tmp_path)


def test_names_that_are_no_text_are_drawn(run: Path, tmp_path: Path) -> None:
    """As from an archive of another system."""
    image, _ = red_square(0, present=True)
    file = save(tmp_path / "photos" / "a.png", image)
    Path(os.fsdecode(os.fsencode(file.parent) + b"/caf\xe9.png")).write_bytes(file.read_bytes())
    result = call("predict", run, tmp_path / "photos", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    masks = sorted((tmp_path / "out" / "masks").glob("*.png"))
    assert [os.fsencode(mask.name) for mask in masks] == [b"a.png", b"caf\xe9.png"]
    assert np.array_equal(*(np.asarray(Image.open(mask)) for mask in masks))
    exported = tmp_path / "masks.json"
    assert call("export-labels", tmp_path / "out", "--to", "coco", "--out", exported).exit_code == 0
    names = [name for name, _ in coco_label_maps(exported)]
    assert [os.fsencode(name) for name in names] == [b"a.png", b"caf\xe9.png"]

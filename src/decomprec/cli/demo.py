"""`decomprec demo`."""

from __future__ import annotations

from pathlib import Path

from decomprec.cli.common import Device, DeviceOption, ResumeOption, RunOption, SeedOption, SetOption, run


def demo(
    out: RunOption = Path("runs/demo"),
    settings: SetOption = None,
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = Device.auto,
) -> None:
    """Learn to segment synthetic scenes: minutes on a CPU, no data.

    \b
    decomprec demo
    decomprec demo --out runs/quick --set guide.epochs=2 --set segmenter.epochs=1

    Draws the scenes, trains a guide on their tags and a segmenter with it, and compares the masks with the truth.
    RUN gets the table (results.json), figures/, checkpoints, and the model in RUN/model.
    """  # noqa: D301
    from decomprec.experiment import synthetic_scenes
    from decomprec.training.choose import choose_preset

    settings = settings or []
    preset = choose_preset("demo", settings)
    scenes = synthetic_scenes(preset.image_size)
    run(preset, scenes, out, device, data="synthetic", settings=settings, resume=resume, seed=seed)

"""Loops of a user's own, in four frameworks: the same problem, the same steps, and a guide that nothing touches."""

import re
import runpy
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

pytestmark = pytest.mark.slow

LOOPS = Path(__file__).parents[2] / "examples" / "loops"
SCRIPTS = ["own_loop", "lightning_module", "fabric_loop", "accelerate_loop"]
ON_CPU: dict[str, dict[str, Any]] = {
    "own_loop": {},
    "lightning_module": {"accelerator": "cpu"},
    "fabric_loop": {"accelerator": "cpu"},
    "accelerate_loop": {"cpu": True},
}


@pytest.fixture(scope="module", autouse=True)
def _beside_each_other() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LOOPS))
        yield


@pytest.fixture(autouse=True)
def _new_accelerator_state() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)  # it outlives its Accelerator


@pytest.fixture(scope="module")
def make_problem() -> Callable[..., Any]:
    return import_module("problem").make_problem


@pytest.fixture(scope="module")
def plain_losses(make_problem: Callable[..., Any]) -> list[float]:
    return import_module("own_loop").train(make_problem())


def test_the_plain_loop_is_adam_on_eq_7(make_problem: Callable[..., Any], plain_losses: list[float]) -> None:
    problem = make_problem()
    parameters = list(problem.model.parameters())
    means, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    losses = []
    for step, batch in enumerate(problem.loader, start=1):
        images, tags = batch["image"], batch["tags"]
        out = problem.model(images)
        recon = (((out.masks[:, :, None] * out.imagelets).sum(dim=1) - images) ** 2).mean()
        total = recon + 0.1 * problem.loss.mask_loss(out.areas, tags) + 0.1 * problem.loss.cls_loss(out, images, tags)
        gradients = torch.autograd.grad(total, parameters)
        with torch.no_grad():
            for p, gradient, mean, square in zip(parameters, gradients, means, squares, strict=True):
                mean.lerp_(gradient, 1 - 0.9)
                square.lerp_(gradient**2, 1 - 0.999)
                p -= 3e-3 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        losses.append(total.item())
    assert losses == pytest.approx(plain_losses, abs=2e-4)


def guide_state(problem: Any) -> dict[str, Tensor]:
    classifier = problem.loss.cls_loss.guide.module
    return {name: tensor.clone() for name, tensor in classifier.state_dict().items()}


def check_guide(problem: Any, before: dict[str, Tensor]) -> None:
    classifier = problem.loss.cls_loss.guide.module
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert not any(module.training for module in classifier.modules())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_the_same_losses(
    name: str, plain_losses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(LOOPS / f"{name}.py"), run_name="__main__")
    printed = [float(loss) for loss in re.findall(r"^step \d+: ([\d.]+)$", capsys.readouterr().out, re.MULTILINE)]
    assert printed == pytest.approx(plain_losses, abs=2e-5)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_loop_trains_the_segmenter_and_not_the_guide(
    name: str, make_problem: Callable[..., Any], plain_losses: list[float]
) -> None:
    problem = make_problem()
    guide = guide_state(problem)
    weights = [parameter.clone() for parameter in problem.model.parameters()]
    losses = import_module(name).train(problem, **ON_CPU[name])
    assert losses == pytest.approx(plain_losses, abs=1e-5)
    assert not any(torch.equal(*pair) for pair in zip(weights, problem.model.parameters(), strict=True))
    check_guide(problem, guide)


def test_the_seed_decides(make_problem: Callable[..., Any], plain_losses: list[float]) -> None:
    losses = import_module("own_loop").train(make_problem(seed=1))
    assert losses != pytest.approx(plain_losses, abs=1e-3)


def set_up_by_fabric(objective: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
    return Fabric(accelerator="cpu").setup(objective, optimizer)


def set_up_by_accelerate(objective: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
    return Accelerator(cpu=True).prepare(objective, optimizer)


@pytest.mark.parametrize("set_up", [set_up_by_fabric, set_up_by_accelerate])
def test_what_is_set_up_takes_the_guide_along_and_leaves_it_out(
    set_up: Callable[..., tuple[Any, Any]], make_problem: Callable[..., Any]
) -> None:
    problem = make_problem()
    before = guide_state(problem)
    objective = import_module("problem").Objective(problem.model, problem.loss)
    objective, optimizer = set_up(objective, torch.optim.Adam(objective.parameters()))
    optimised = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert optimised == {id(parameter) for parameter in problem.model.parameters()}
    assert {name.split(".")[0] for name in objective.state_dict()} == {"model"}
    objective.train()
    check_guide(problem, before)
    for device in ("cpu", "meta"):  # the one other device that every machine has
        objective.to(device)
        classifier = problem.loss.cls_loss.guide.module
        assert {parameter.device.type for parameter in classifier.parameters()} == {device}


def first_batches(loader: DataLoader[dict[str, Any]], count: int) -> DataLoader[dict[str, Any]]:
    """A loader of the batches that this one starts with."""
    names = [name for batch in islice(loader, count) for name in batch["name"]]
    scenes = Subset(loader.dataset, [int(name.removeprefix("scene_")) for name in names])
    return DataLoader(scenes, batch_size=loader.batch_size, collate_fn=loader.collate_fn)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lightning_module", {"accelerator": "cpu", "precision": "bf16-mixed"}),
        ("fabric_loop", {"accelerator": "cpu", "precision": "bf16-mixed"}),
        ("accelerate_loop", {"cpu": True, "mixed_precision": "bf16"}),
    ],
)
def test_mixed_precision_stays_close(
    name: str, options: dict[str, Any], make_problem: Callable[..., Any], plain_losses: list[float]
) -> None:
    problem = make_problem()
    before = guide_state(problem)
    problem.loader = first_batches(problem.loader, 3)  # bfloat16 is slow on a CPU
    losses = import_module(name).train(problem, **options)
    assert losses == pytest.approx(plain_losses[:3], abs=0.01)
    assert losses != pytest.approx(plain_losses[:3], abs=1e-6)  # bfloat16 was at work
    check_guide(problem, before)

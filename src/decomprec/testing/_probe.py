"""What the checks share: made-up inputs, and a block whose every failure becomes one sentence."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from decomprec.decomposition import Decomposition, Slots

Sizes = Sequence[tuple[int, int]]

SIZES: Sizes = ((64, 64), (64, 96))
"""Heights and widths that a network is shown, one of them not square."""


class Probe:
    """A block under test.

    Args:
        what: names it in messages, such as "the guide".
        block: the callable.
        advice: what to do if it can't take its inputs.

    Raises:
        ValueError: if it can't be called.
    """

    def __init__(self, what: str, block: Any, advice: str = "") -> None:
        if not callable(block):
            raise ValueError(f"Expected {what} to be callable, but got {type(block).__name__}.")
        self.what = what
        self.block = block
        self.advice = advice

    def __call__(self, **inputs: Any) -> Any:
        """What the block gives for the inputs in their order; every call draws the same random numbers."""
        return self._run(inputs, autocast=False)

    def under_autocast(self, **inputs: Any) -> Any:
        """Likewise in mixed precision."""
        return self._run(inputs, autocast=True)

    @torch.enable_grad()
    def _run(self, inputs: dict[str, Any], *, autocast: bool) -> Any:
        before = {name: [tensor.clone() for tensor in _tensors(value)] for name, value in inputs.items()}
        try:
            with (
                torch.random.fork_rng(devices=[]),
                torch.autocast("cpu", torch.bfloat16, enabled=autocast),
            ):
                torch.manual_seed(0)
                output = self.block(*inputs.values())
        except Exception as error:
            shapes = " and ".join(f"`{name}` of shape {tuple(first.shape)}" for name, (first, *_) in before.items())
            advice = self.advice or f"it is called as ({', '.join(inputs)})"
            where, advice = (" under bfloat16 autocast", "bring its tensors to one dtype") if autocast else ("", advice)
            # A module's own message can be as long as a page.
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            self.refuse(f"take {shapes}{where}", f"it raised {type(error).__name__}: {reason}", advice)
        for name, tensors in before.items():
            if not all(map(torch.equal, tensors, _tensors(inputs[name]))):
                self.refuse(f"leave `{name}` as given", "it changes values in place", "work on a copy")
        return output

    def refuse(self, expected: str, got: str, advice: str = "") -> NoReturn:
        """Raise the one sentence."""
        raise ValueError(f"Expected {self.what} to {expected}, but {got}{f'; {advice}' if advice else ''}.")

    def check_tensor(self, output: Any, meaning: str, form: str, shape: Sequence[int], advice: str = "") -> None:
        """A finite floating-point tensor of this shape, which is written as `form`."""
        if not isinstance(output, Tensor):
            self.refuse(f"give {meaning} {form} as one tensor", f"got {type(output).__name__}", advice)
        if tuple(output.shape) != tuple(shape):
            self.refuse(f"give {meaning} of shape {form} = {tuple(shape)}", f"got {tuple(output.shape)}", advice)
        if not output.is_floating_point():
            self.refuse(f"give {meaning} in floating point", f"got {output.dtype}", "integers carry no gradient")
        if not output.isfinite().all():
            self.refuse(f"give finite {meaning}", "got nan or inf", "look for a logarithm, root or division of 0")

    def check_range(self, output: Tensor, meaning: str, advice: str) -> None:
        """Values in [0, 1]."""
        low, high = (value.item() for value in torch.aminmax(output.detach()))
        if low < -1e-3 or high > 1 + 1e-3:
            self.refuse(f"give {meaning} in [0, 1]", f"got values from {low:.4g} to {high:.4g}", advice)

    @torch.enable_grad()
    def check_gradient(self, output: Tensor, wanted: dict[str, Tensor], advice: str, *, nonzero: bool = True) -> None:
        """A finite gradient reaches at least one of the inputs; with `nonzero`, one that is not all zero."""
        targets = " or ".join(f"`{name}`" for name in wanted)
        if output.requires_grad:
            # Random weights: the plain sum of a softmax has no gradient.
            weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(1))
            total = (output.float() * weights).sum()
            grads = [g for g in torch.autograd.grad(total, list(wanted.values()), allow_unused=True) if g is not None]
            if not all(grad.isfinite().all() for grad in grads):
                advice = "look for a root, norm or logarithm of 0"
                self.refuse(f"give a finite gradient to {targets}", "got nan or inf", advice)
            if any(grad.any() for grad in grads) or (grads and not nonzero):
                return
        self.refuse(f"pass a gradient to {targets}", "none arrives", advice)

    def check_linear_end(self, output: Tensor, meaning: str, advice: str) -> None:
        """Not a probability: the last thing that was done is no sigmoid or softmax."""
        last = output.grad_fn.name() if output.grad_fn is not None else ""
        if last.removeprefix("Log").startswith(("Sigmoid", "Softmax")):
            self.refuse(f"give {meaning} before sigmoid or softmax", f"got those of {last}", advice)

    def check_frozen(self, output: Tensor, advice: str) -> None:
        """Nothing that is trained was used: `output` is of inputs that need no gradient."""
        if output.requires_grad:
            named = self.block.named_parameters() if isinstance(self.block, nn.Module) else ()
            names = [f"its parameter `{name}`" for name, parameter in named if parameter.requires_grad]
            got = f"{names[0] if names else 'a parameter that it uses'} would be trained"
            self.refuse("be frozen", got, advice)

    def check_modes(self, advice: str, **inputs: Any) -> None:
        """`train()` changes nothing. A copy is asked, so that no running mean moves."""
        if not isinstance(self.block, nn.Module):
            return
        outputs = []
        for mode in (False, True):
            probe = Probe(self.what, copy.deepcopy(self.block).train(mode), self.advice)
            outputs.append(probe(**inputs).detach())
        if not _close(outputs[0], outputs[1]):
            got = "`train()` wakes its dropout or batch normalisation"
            self.refuse("give the same in training and evaluation mode", got, advice)

    def check_independence(self, **inputs: Tensor) -> None:
        """What the first image gets does not depend on the others of its batch."""
        # All inputs of the other rows get the first row's values: whatever they were, a mean over the batch moves.
        changed = {name: torch.cat([value[:1]] * len(value)) for name, value in inputs.items()}
        first, second = (_first(self(**arguments)) for arguments in (inputs, changed))
        if not all(map(_close, first, second)):
            got = "it depends on the other images of the batch"
            self.refuse("judge each image by itself", got, "put it into eval mode, or reduce over no batch dimension")


def sample_images(batch: int, size: tuple[int, int]) -> Tensor:
    """Images (B, 3, H, W) of different brightness, in [0, 1]."""
    generator = torch.Generator().manual_seed(batch)
    brightness = torch.linspace(0.4, 1, batch).view(-1, 1, 1, 1)
    return brightness * torch.rand(batch, 3, *size, generator=generator)


def decomposed(
    batch: int, num_classes: int, size: tuple[int, int], *, empty: bool = False, needs_grad: bool = False
) -> Decomposition:
    """A decomposition; an `empty` one has a slot whose mask is exactly 0."""
    generator = torch.Generator().manual_seed(10 + batch)
    logits = torch.randn(batch, num_classes, *size, generator=generator)
    if empty:
        logits[:, 1] = -200
    imagelets = torch.rand(batch, num_classes, 3, *size, generator=generator)
    return Decomposition(logits.requires_grad_(needs_grad), imagelets.requires_grad_(needs_grad))


def some_tags(batch: int, num_classes: int) -> Tensor:
    """Tags (B, K-1): the first image has one class, others have several."""
    tags = torch.zeros(batch, num_classes - 1)
    for image in range(batch):
        tags[image, : image + 1] = 1
    return tags


def cases(sizes: Sizes) -> Iterator[tuple[int, tuple[int, int]]]:
    """Batches of one and of three, of every size."""
    return ((batch, size) for size in sizes for batch in (3, 1))


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _first(output: Any) -> list[Tensor]:
    return [tensor[:1].detach() for tensor in _tensors(output)]


def _tensors(value: Any) -> list[Tensor]:
    """The tensors of an input or output, those of a decomposition that it remembers among them."""
    if isinstance(value, Decomposition):
        return [value.imagelets, value.mask_logits, value.masks, value.components, value.reconstruction, value.areas]
    if isinstance(value, Slots):
        return [value.imagelets, value.masks]
    return list(value) if isinstance(value, list | tuple) else [value]

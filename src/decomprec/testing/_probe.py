"""What the checks share: made-up inputs, and a component whose every failure becomes one sentence."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from decomprec.decomposition import Decomposition, Slots

Sizes = Sequence[tuple[int, int]]

SIZES: Sizes = ((64, 64), (64, 96))
"""Heights and widths of the images that a network is given; one is not square."""


class Probe:
    """Calls a component and checks what it gives.

    Args:
        what: the component in messages, such as "the guide".
        component: the callable.
        advice: what to do if it can't take its inputs.

    Raises:
        ValueError: if it can't be called.
    """

    def __init__(self, what: str, component: Any, advice: str = "") -> None:
        if not callable(component):
            raise ValueError(f"Expected {what} to be callable, but got {type(component).__name__}.")
        self.what = what
        self.component = component
        self.advice = advice

    @torch.enable_grad()
    def __call__(self, *, autocast: bool = False, **inputs: Any) -> Any:
        """Call the component on the inputs in their order, with the same random numbers at every call."""
        before = {name: [tensor.clone() for tensor in _tensors(value)] for name, value in inputs.items()}
        try:
            with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                torch.manual_seed(0)
                output = self.component(*inputs.values())
        except Exception as error:  # of any type: the component is the user's
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

    @torch.enable_grad()
    def with_gradient(self, to: str, advice: str, *, nonzero: bool = True, **inputs: Any) -> Any:
        """Call the component and check the gradient to the input `to`.

        A finite gradient must reach at least one of its tensors. With `nonzero`, one must not be all zero.
        """
        wanted = {name: part.detach().clone().requires_grad_() for name, part in _leaves(to, inputs[to]).items()}
        output = self(**{**inputs, to: _rebuilt(inputs[to], list(wanted.values()))})
        targets = " or ".join(f"`{name}`" for name in wanted)
        if output.requires_grad:
            # Random weights: the plain sum of a softmax has no gradient.
            weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(1))
            total = (output.float() * weights).sum()
            grads = [g for g in torch.autograd.grad(total, list(wanted.values()), allow_unused=True) if g is not None]
            if not all(grad.isfinite().all() for grad in grads):
                cure = "look for a root, norm or logarithm of 0"
                self.refuse(f"give a finite gradient to {targets}", "got nan or inf", cure)
            if any(grad.any() for grad in grads) or (grads and not nonzero):
                return output
        self.refuse(f"pass a gradient to {targets}", "none arrives", advice)

    def refuse(self, expected: str, got: str, advice: str = "") -> NoReturn:
        """Raise a ValueError of one sentence."""
        refuse(f"{self.what} to {expected}", got, advice)

    def check_tensor(self, output: Any, meaning: str, form: str, shape: Sequence[int], advice: str = "") -> None:
        """Refuse anything but a finite floating-point tensor of this shape, which messages call `form`."""
        if not isinstance(output, Tensor):
            self.refuse(f"give {meaning} {form} as one tensor", f"got {type(output).__name__}", advice)
        if tuple(output.shape) != tuple(shape):
            self.refuse(f"give {meaning} of shape {form} = {tuple(shape)}", f"got {tuple(output.shape)}", advice)
        if not output.is_floating_point():
            self.refuse(f"give {meaning} in floating point", f"got {output.dtype}", "integers carry no gradient")
        if not output.isfinite().all():
            self.refuse(f"give finite {meaning}", "got nan or inf", "look for a logarithm, root or division of 0")

    def check_range(self, output: Tensor, meaning: str, advice: str) -> None:
        """Refuse values outside [0, 1]."""
        low, high = (value.item() for value in torch.aminmax(output.detach()))
        if low < -1e-3 or high > 1 + 1e-3:
            self.refuse(f"give {meaning} in [0, 1]", f"got values from {low:.4g} to {high:.4g}", advice)

    def check_linear_end(self, output: Tensor, meaning: str, advice: str) -> None:
        """Refuse the output of a sigmoid or softmax."""
        last = output.grad_fn.name() if output.grad_fn is not None else ""
        if last.removeprefix("Log").startswith(("Sigmoid", "Softmax")):
            self.refuse(f"give {meaning} before sigmoid or softmax", f"got those of {last}", advice)

    def check_frozen(self, output: Tensor, advice: str) -> None:
        """Refuse trained parameters: inputs without a gradient must give an `output` without one."""
        if output.requires_grad:
            named = self.component.named_parameters() if isinstance(self.component, nn.Module) else ()
            names = [f"its parameter `{name}`" for name, parameter in named if parameter.requires_grad]
            self.refuse("be frozen", f"{names[0] if names else 'a parameter that it uses'} would be trained", advice)

    def check_modes(self, advice: str, **inputs: Any) -> None:
        """Refuse a module that `train()` changes; a copy is tried, which keeps its running means."""
        if not isinstance(self.component, nn.Module):
            return
        copies = [copy.deepcopy(self.component).train(mode) for mode in (False, True)]
        outputs = [Probe(self.what, module, self.advice)(**inputs).detach() for module in copies]
        if not _close(*outputs):
            got = "`train()` wakes its dropout or batch normalisation"
            self.refuse("give the same in training and evaluation mode", got, advice)

    def check_independence(self, **inputs: Any) -> None:
        """Refuse an output for the first image that depends on the others of its batch."""
        # Copies of the first image in place of the others: any mean over the batch moves.
        alone: dict[str, Any] = {name: torch.cat([value[:1]] * len(value)) for name, value in inputs.items()}
        first, second = ([tensor[:1].detach() for tensor in _tensors(self(**batch))] for batch in (inputs, alone))
        if not all(map(_close, first, second)):
            got = "it depends on the other images of the batch"
            self.refuse("judge each image by itself", got, "put it into eval mode, or reduce over no batch dimension")


def refuse(expected: str, got: str, advice: str = "", cause: Exception | None = None) -> NoReturn:
    """Raise a ValueError of one sentence."""
    raise ValueError(f"Expected {expected}, but {got.rstrip('.')}{f'; {advice}' if advice else ''}.") from cause


def sample_images(batch: int, size: tuple[int, int]) -> Tensor:
    """Make images (B, 3, H, W) of different brightness, in [0, 1]."""
    generator = torch.Generator().manual_seed(batch)
    brightness = torch.linspace(0.4, 1, batch).view(-1, 1, 1, 1)
    return brightness * torch.rand(batch, 3, *size, generator=generator)


def sample_decomposition(batch: int, num_classes: int, size: tuple[int, int], empty: bool = False) -> Decomposition:
    """Make a decomposition; an `empty` one has a slot whose mask is exactly 0."""
    generator = torch.Generator().manual_seed(10 + batch)
    logits = torch.randn(batch, num_classes, *size, generator=generator)
    if empty:
        logits[:, 1] = -200
    return Decomposition(logits, torch.rand(batch, num_classes, 3, *size, generator=generator))


def sample_tags(batch: int, num_classes: int) -> Tensor:
    """Make tags (B, K-1): the first image has one class, the others have more."""
    return torch.ones(batch, num_classes - 1).tril()


def cases(sizes: Sizes) -> Iterator[tuple[int, tuple[int, int]]]:
    """Batches of three images and of one, of every size."""
    return ((batch, size) for size in sizes for batch in (3, 1))


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _tensors(value: Any) -> list[Tensor]:
    """List the tensors of an input or output, with those that a decomposition computes from its own."""
    if isinstance(value, Decomposition):
        return [value.imagelets, value.mask_logits, value.masks, value.components, value.reconstruction, value.areas]
    if isinstance(value, Slots):
        return [value.imagelets, value.masks]
    return list(value) if isinstance(value, list | tuple) else [value]


def _leaves(name: str, value: Any) -> dict[str, Tensor]:
    """Name the tensors of an input that a gradient may reach."""
    if isinstance(value, Decomposition):
        return {"mask_logits": value.mask_logits, "imagelets": value.imagelets}
    return {f"{name}[{i}]": part for i, part in enumerate(value)} if isinstance(value, list) else {name: value}


def _rebuilt(value: Any, leaves: list[Tensor]) -> Any:
    if isinstance(value, Decomposition):
        return Decomposition(*leaves)
    return leaves if isinstance(value, list) else leaves[0]

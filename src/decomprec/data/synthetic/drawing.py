"""Outlines, textures and clutter of the synthetic scenes. Coordinates lie in [0, 1]."""

import colorsys
from functools import cache
from math import cos, pi, sin, sqrt
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

TEXTURES = ("striped", "checked", "dotted", "ringed", "zigzag")
SHAPES = ("disc", "square", "triangle", "star")

# Points of the outline, and inner over outer radius, which is cos(pi / n) for a regular polygon.
_OUTLINES = {"square": (4, cos(pi / 4)), "triangle": (3, cos(pi / 3)), "star": (5, 0.48)}
_AREA = (0.05, 0.30)
_TRIES = 12


def background(rng: Generator, size: int) -> Array:
    """Draw smooth colour noise of several octaves over a gradient, (size, size, 3) in [0, 1]."""
    y, x = _grid(size)
    angle = rng.uniform(0, 2 * pi)
    ramp = cos(angle) * (x - 0.5) + sin(angle) * (y - 0.5)
    image = 0.15 + 0.7 * _colour(rng) + 0.25 * ramp[..., None] * rng.standard_normal(3, dtype=np.float32)
    roughness = rng.uniform(0.45, 0.75)
    amplitude = rng.uniform(0.06, 0.16)
    for cells in (2, 4, 8, 16, 32):
        if cells > size // 2:
            break
        knots = rng.standard_normal((4, cells + 1, cells + 1), dtype=np.float32)
        weights = _interpolation(size, cells)
        image += (weights @ (amplitude * (knots[:1] + 0.5 * knots[1:])) @ weights.T).transpose(1, 2, 0)
        amplitude *= roughness
    return image.clip(0.02, 0.98)


def draw_distractor(rng: Generator, image: Array) -> None:
    """Draw a soft blob, a line stroke, or an outline of a class without a texture."""
    size = len(image)
    y, x = _grid(size)
    centre_y, centre_x, angle = rng.random(), rng.random(), rng.uniform(0, 2 * pi)
    u, v = _local(y - centre_y, x - centre_x, angle)
    kind = rng.random()
    if kind < 0.25:
        width, height = rng.uniform(0.05, 0.25, 2).tolist()
        alpha = rng.uniform(0.4, 0.9) * np.exp(-((u / width) ** 2) - (v / height) ** 2)
        image += alpha[..., None] * (_colour(rng) - image)
    elif kind < 0.5:
        bend = rng.normal(0, 1.5)
        length, half_width = rng.uniform(0.15, 0.5), rng.uniform(0.006, 0.02)
        distance = np.maximum(np.abs(v + bend * u * u) - half_width, np.abs(u) - length)
        _paint(image, distance, _colour(rng))
    else:
        shape = SHAPES[rng.integers(len(SHAPES))]
        distance = _outline(shape, u, v, rng.uniform(0.015, 0.12))
        fill = _colour(rng) + np.zeros_like(image)
        if rng.random() < 0.4:
            fill += rng.uniform(0.05, 0.2) * rng.standard_normal((size, size, 1), dtype=np.float32)
        _paint(image, distance, _shade(rng, fill, u, v))


def draw_object(rng: Generator, image: Array, owner: NDArray[np.uint8], place: int, texture: str, shape: str) -> bool:
    """Draw an object at a place where it hides no earlier one, if the scene has room for it.

    Args:
        rng: source of all random numbers.
        image: (size, size, 3), changed in place.
        owner: (size, size), number of the object that a pixel shows, 0 for none; changed in place.
        place: number of this object, from 1.
        texture: one of `TEXTURES`.
        shape: one of `SHAPES`.

    Returns:
        Whether there was room.
    """
    y, x = _grid(len(image))
    floor = np.maximum(0.75 * np.bincount(owner.ravel(), minlength=place), 0.02 * owner.size)
    for _ in range(_TRIES):
        area = float(np.exp(rng.uniform(*np.log(_AREA))))
        margin = 0.35 * sqrt(area)
        centre_y, centre_x = rng.uniform(margin, 1 - margin, 2).tolist()
        u, v = _local(y - centre_y, x - centre_x, rng.uniform(0, 2 * pi))
        distance = _outline(shape, u, v, area)
        inside = distance < 0
        after = np.bincount(owner[~inside], minlength=place)
        if inside.mean() >= 0.04 and (after[1:] >= floor[1:]).all():
            break
    else:
        return False
    fill = _texture(rng, texture, u, v)
    _paint(image, distance, _shade(rng, fill, u, v))
    owner[inside] = place
    return True


def _texture(rng: Generator, texture: str, u: Array, v: Array) -> Array:
    period = rng.uniform(0.085, 0.12)
    turn = rng.uniform(0, 2 * pi)
    s, t = _local(u, v, turn)
    phase_s, phase_t = rng.uniform(0, 2 * pi, 2).tolist()
    a, b = 2 * pi / period * s + phase_s, 2 * pi / period * t + phase_t
    if texture == "striped":
        wave = np.sin(a)
    elif texture == "checked":
        wave = 2 * np.sin(0.7 * a) * np.sin(0.7 * b)
    elif texture == "dotted":
        wave = 1.5 * (np.cos(a) + np.cos(b) - 0.5)
    elif texture == "ringed":
        wave = np.sin(2 * pi / period * np.sqrt(u * u + v * v) + phase_s)
    else:
        wave = np.sin(a + 1.6 * np.arcsin(np.sin(0.6 * b)))
    mix = (0.5 + 1.3 * wave).clip(0, 1)[..., None]
    dark, light = _contrasting(rng)
    return dark + mix * (light - dark)


def _outline(shape: str, u: Array, v: Array, area: float) -> Array:
    """Compute the signed distance to an outline of the given area: negative inside, exact near straight edges."""
    radius = np.sqrt(u * u + v * v)
    if shape == "disc":
        return np.asarray(radius - sqrt(area / pi))
    points, inner = _OUTLINES[shape]
    outer = sqrt(area / (points * inner * sin(pi / points)))
    sector = 2 * pi / points
    angle = np.arctan2(v, u)
    angle = np.abs(angle - sector * np.rint(angle / sector))
    # Folded onto one half of a point, the outline is the line from the tip to the inner corner.
    corner_x, corner_y = outer * inner * cos(pi / points), outer * inner * sin(pi / points)
    edge = sqrt((outer - corner_x) ** 2 + corner_y**2)
    across, along = corner_y / edge, (outer - corner_x) / edge
    return across * (radius * np.cos(angle) - outer) + along * radius * np.sin(angle)


def _paint(image: Array, distance: Array, fill: Array) -> None:
    """Paint `fill` inside, with an edge blended over one pixel and a contact shadow around it."""
    image *= 1 - 0.45 * np.exp(-((distance.clip(0) / 0.025) ** 2))[..., None]
    alpha = (0.5 - distance * len(image)).clip(0, 1)[..., None]
    image += alpha * (fill - image)


def _shade(rng: Generator, fill: Array, u: Array, v: Array) -> Array:
    angle = rng.uniform(0, 2 * pi)
    light = 1 + rng.uniform(0, 0.8) * (cos(angle) * u + sin(angle) * v)
    return (fill * light[..., None]).clip(0, 1)


def _colour(rng: Generator) -> Array:
    hue, saturation, value = rng.random(3).tolist()
    saturation, value = 0.05 + 0.75 * saturation, 0.15 + 0.8 * value
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), dtype=np.float32)


def _contrasting(rng: Generator) -> tuple[Array, Array]:
    while True:
        first, second = _colour(rng), _colour(rng)
        if abs(first.sum() - second.sum()) > 1.05:
            return first, second


def _local(y: Array, x: Array, angle: float) -> tuple[Array, Array]:
    c, s = np.float32(cos(angle)), np.float32(sin(angle))
    return c * y - s * x, s * y + c * x


@cache
def _grid(size: int) -> tuple[Array, Array]:
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    return line[:, None], line[None, :]


@cache
def _interpolation(size: int, cells: int) -> Array:
    """Compute weights (size, cells + 1) of smooth (cosine) interpolation between knots."""
    position = (np.arange(size) + 0.5) / size * cells
    left = position.astype(int)
    share = 0.5 - 0.5 * np.cos(pi * (position - left))
    weights = np.zeros((size, cells + 1), dtype=np.float32)
    weights[np.arange(size), left] = 1 - share
    weights[np.arange(size), left + 1] = share
    return weights

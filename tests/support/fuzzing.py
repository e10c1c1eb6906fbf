"""What the fuzz tests share: valid files, ways to spoil them, and what a reader may do about it."""

import copy
import io
import os
import warnings
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from PIL import Image
from support.tiny import tiny

from decomprec.training import Preset

EXAMPLES = int(os.environ.get("DECOMPREC_FUZZ", "25"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if EXAMPLES > 100 else [])],
)

TINY = tiny({"guide.batch_size": 2, "segmenter.batch_size": 2})

# What values may be in the place of another.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, 10**30, -(10**18), 1e308, float("inf"), float("nan"), 0.5]),
    st.text(max_size=8),
    st.sampled_from(["", ".", "..", "/", "../..", "\x00", "\ud800", "a" * 300, "train", "1", "nan", "auto", "\x1b[2J"]),
    st.sampled_from([[], {}, [[]], [1], {"a": 1}, [None], ["a", "a"]]),
)


@st.composite
def mutated_bytes(draw: Any, valid: bytes) -> bytes:
    """A file with some bytes changed, doubled, taken out or cut off; sometimes any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(1, 12))
        match draw(st.sampled_from(["set", "set", "insert", "remove", "double", "cut"])):
            case "set":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=length))
            case "remove":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case "cut":
                del data[at:]
    return bytes(data)


@st.composite
def mutated_values(draw: Any, valid: Any) -> Any:
    """Nested values of which some are odd, doubled, or gone."""
    changed = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = [((), None), *_places(changed)]
        path, key = draw(st.sampled_from(places))
        if key is None:
            changed = copy.deepcopy(draw(st.one_of(st.just(changed), st.just(changed), ODD)))
            continue
        parent = changed
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["odd", "odd", "odd", "remove", "rename"])):
            case "odd":
                parent[key] = copy.deepcopy(draw(ODD))  # what is drawn from a list is one object
            case "remove":
                del parent[key]
            case "rename":
                value = parent.pop(key)
                if isinstance(parent, dict):
                    parent[draw(st.sampled_from(["", "x", "name", "id", "weights"]))] = value
                else:
                    parent += [value, copy.deepcopy(value)]
    return changed


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, child in pairs:
        found += [(path, key), *_places(child, (*path, key))]
    return found


def survives(read: Callable[[], object]) -> None:
    """Reading succeeds or fails with a message."""
    said = "nothing"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read()
        except (ValueError, OSError) as error:
            said = str(error).strip()
    assert 0 < len(said) < 5000


def encoded(kind: str, mode: str, image: Image.Image | None = None) -> bytes:
    """A small file of an image, which is to be displayed turned."""
    file = io.BytesIO()
    image = (image or Image.radial_gradient("L").resize((9, 7))).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, kind, exif=exif)
    return file.getvalue()


IMAGES = [encoded(k, m) for k, m in (("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"))]
IMAGES += [encoded("TIFF", "I;16"), encoded("GIF", "P"), encoded("BMP", "RGB")]


def plain(preset: Preset) -> Any:
    """The values of a preset, as its file has them."""
    return preset.model_dump(mode="json")

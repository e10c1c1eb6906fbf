"""The classes of the objects in an image: from its annotation in XML, its YOLO labels, or its mask."""

from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from decomprec.data.image_io import read_mask
from decomprec.data.mask_colours import Colours
from decomprec.data.paths import read_text


def xml_names(annotation: Path) -> frozenset[str]:
    """Return the names of all objects in an annotation of VOC's form, difficult ones included.

    Raises:
        ValueError: if it is no XML.
    """
    state = annotation.stat()
    return _xml_names(annotation, state.st_mtime_ns, state.st_size)


def yolo_numbers(labels: Path) -> frozenset[int]:
    """Return the classes of a file of YOLO labels: the first number of each line.

    Raises:
        ValueError: if a line starts with no number, or is a mere number.
    """
    numbers = set()
    for count, line in enumerate(read_text(labels).splitlines(), 1):
        words = line.split()
        if words and (len(words) < 5 or not words[0].isdecimal()):
            raise ValueError(
                f"Expected line {count} of {labels} to be a class's number and a box or polygon, but got {line[:80]!r}."
            )
        numbers |= {int(word) for word in words[:1]}
    return frozenset(numbers)


def mask_values(mask: Path, image: Path, colours: Colours | None = None) -> frozenset[int]:
    """Return all values of a mask.

    Raises:
        ValueError: if the mask can't be read or has another size than its image.
    """
    state = mask.stat()
    return _mask_values(mask, image, colours, state.st_mtime_ns, state.st_size)


@cache  # a run makes its training set more than once
def _xml_names(annotation: Path, modified: int, size: int) -> frozenset[str]:
    try:
        objects = ElementTree.parse(annotation).getroot().findall("object/name")
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two for unknown encodings
        raise ValueError(f"Expected {annotation} to be an annotation in XML, but: {error}.") from error
    return frozenset((name.text or "").strip() for name in objects)


@cache
def _mask_values(mask: Path, image: Path, colours: Colours | None, modified: int, size: int) -> frozenset[int]:
    return frozenset(read_mask(mask, image, colours).unique().tolist())

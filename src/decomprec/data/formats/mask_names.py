"""The names of the values in masks that lie next to their images."""

from collections.abc import Sequence, Set
from pathlib import Path

from decomprec.data.class_lists import find_class_list, read_class_list
from decomprec.data.mask_meaning import only_white
from decomprec.data.notices import say
from decomprec.data.samples import IGNORE

_MOST_VALUES = 64
_SPARSE = 4  # times as high as their number: shades of grey, not numbers


def names_of_values(found: Set[int], folders: Sequence[Path], labels: Path) -> dict[int | str, str]:
    """Return the name of each value of masks that stands for a class: not of 0 and, unless it is a class, of 255.

    Args:
        found: all values of all masks.
        folders: where a list of the classes may lie.
        labels: folder of the masks, for messages.

    Raises:
        ValueError: if the values are no numbers of classes, or the list lacks one.

    Examples:
        >>> names_of_values({0, 1, 3, 255}, [], Path("masks"))
        {1: 'class 1', 3: 'class 3'}
        >>> names_of_values({0, 255}, [], Path("masks"))
        {255: 'class 1'}
    """
    file = find_class_list(*folders)
    if only_white([found]):
        names = ["class 1"] if file is None else list(read_class_list(file)[1:])
        if len(names) > 1:
            raise ValueError(
                f"Expected masks in {labels} to hold the numbers of {', '.join(names)}, as {file} names them, but they "
                f"hold only 0 and {IGNORE}; write the number of the class where it is."
            )
        say(f"{labels}: masks hold only 0 and {IGNORE}: {IGNORE} is {names[0]!r}.")
        return {IGNORE: names[0]}
    numbers = sorted(found - {0, IGNORE})
    if file is not None:
        listed: dict[int | str, str] = dict(list(enumerate(read_class_list(file)))[1:])
        if unknown := [value for value in numbers if value not in listed]:
            raise ValueError(
                f"Expected masks in {labels} to hold the {len(listed)} classes of {file}, but got {unknown[:10]}; name "
                "these values too, or write 0 where there is no class."
            )
        return listed
    if not numbers:
        raise ValueError(
            f"Expected masks in {labels} to hold the numbers of classes, but they hold only "
            f"{' and '.join(map(str, sorted(found)))}; write 1 where the class is."
        )
    shades = IGNORE in found and numbers[-1] > max(_MOST_VALUES, _SPARSE * len(numbers))
    if shades or len(numbers) > _MOST_VALUES:
        shown = ", ".join(map(str, sorted(found)[:10]))
        raise ValueError(
            f"Expected masks in {labels} to hold the numbers of classes, but their {len(found)} values, {shown}, look "
            "like shades of grey; write 0 for the background and 1, 2, ... for the classes, without smoothing and "
            "JPEG, or name the values in classes.txt, background first."
        )
    if 0 not in found:
        raise ValueError(
            f"Expected 0, the background, in masks of {labels}, but they hold only "
            f"{', '.join(map(str, numbers[:10]))}, as trimaps do; name the values in classes.txt, a line for "
            "each from 0 on, 'background' where there is no class."
        )
    say(f"{labels}: classes are called by their values in the masks; name them in classes.txt, background first.")
    return {value: f"class {value}" for value in numbers}

"""What names of folders, files and tags mean to the tools that write them: splits, nothing, system files, roles."""

import os
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePath

SPLITS = ("train", "val", "test")
"""Names of the splits, however a data set spells them."""

_SPLIT_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "validating", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
_SPLITS_BY_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
_NOTHING = {
    *("background", "backgrounds", "bg", "none", "other", "others", "negative", "negatives", "neg", "nothing"),
    *("noclass", "nolabel", "notag", "noobject", "unlabeled", "unlabelled", "unlabeledimages", "nan", "na", "null"),
    *("void", "unannotated", "empty", "blank", "nil", "undefined", "nodata"),
    *("?", "#na", "<na>", "\\n"),  # of spreadsheets and data bases
}
_INTACT = {
    *("good", "ok", "okay", "normal", "healthy", "intact", "clean", "undamaged", "flawless", "nodefect", "nodefects"),
    *("defectfree", "nodamage", "nofault", "nofinding", "nofindings", "notumor", "notumour", "nodisease", "nolesion"),
    *("nocancer", "noanomaly", "uninfected", "unaffected"),
}
_DENIED = {"yes": "no", "true": "false", "fail": "pass", "failed": "passed", "failure": "pass"}
_DENIALS = ("no", "non", "not", "without")
_KINDS = {
    "c",
    "cat",
    "category",
    "class",
    "cls",
    "defect",
    "grade",
    "kind",
    "label",
    "level",
    "species",
    "stage",
    "type",
}
"""Words before the number of a class."""

_GROUPS = (
    "patient|subject|participant|case|scene|video|clip|seq|sequence|part|fold|batch|day|week|session|run|camera|cam|"
    "site|location|frame|frames|slide|slice|tile|plot|chunk|group|folder|dir|subset|trial|study|series"
)
_CAMERA = re.compile(r"[1-9]\d\d[A-Z_]{5}")  # below DCIM
_DATE = re.compile(r"(?<!\d)(19|20)\d\d([_\-.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
_SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@tmp", "#snapshot", "network trash folder"),
    *("temporary items", "found.000"),
}
_IMAGES = {
    *("image", "images", "img", "imgs", "jpegimage", "jpegimages", "photo", "photos", "picture", "pictures", "rgb"),
    *("original", "originals", "originalimages", "rawimages", "inputimages"),
}
_MAY_BE_IMAGES = {
    *("input", "inputs", "x", "a", "src", "source", "sources", "raw", "data", "frame", "frames", "color", "colour"),
    *("patch", "patches", "tile", "tiles", "scan", "scans", "slice", "slices", "crops", "sample", "samples", "dcim"),
}
_MASKS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "ann", "anns", "annot", "annots", "gt", "gts"),
    *("groundtruth", "groundtruths", "seg", "segs", "segmentation", "segmentations", "segmentationmask", "labelmap"),
    *(
        "gtfine",
        "gtcoarse",
        "segmentationmasks",
        "labelmaps",
        "maskimages",
        "semanticmask",
        "semanticmasks",
        "target",
        "targets",
        "labelimage",
        "labelimages",
        "maskimage",
    ),
    *("segmentationclass", "segmentationclasspng", "segmentationclassaug", "segmentationclassraw", "labeltxt"),
}
_ASIDE = {
    *("visualization", "visualizations", "visualisation", "visualisations", "vis", "viz", "overlay", "overlays"),
    *("segmentationclassvisualization", "segmentationobject", "segmentationobjectpng", "segmentationclassnpy"),
    *("segmentationobjectvisualization", "segmentationobjectnpy", "imagesets", "thumbnails", "thumbs", "meta"),
    *("previews", "preview", "prediction", "predictions", "preds", "superpixels"),
}
_ABBREVIATED = {"lab", "labs", "anno", "annos"}
_PLAINLY_MASKS = {"masks", "groundtruth", "groundtruths", "annotations", "annot", "annots", "anno", "annos"}
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_ENDINGS = re.compile(r"(png|jpe?g|tiff?|bmp|gif|dirs?|\d+x\d+|(128|224|256|320|384|512|640|768|1024|2048)(px)?)$")
_DOUBTFUL = {
    *("mask", "label", "target", "seg", "gt", "annotation", "image", "photo", "picture", "rgb", "vis", "meta"),
}


def plain(name: str) -> str:
    """Reduce a name to what its spellings share: no case, no composed accents, no signs between words.

    Examples:
        >>> plain("Ground-Truth"), plain("_background_")
        ('groundtruth', 'background')
    """
    return re.sub(r"[\s_\-./]+", "", unicodedata.normalize("NFC", name).casefold())


def split_of(name: str) -> str | None:
    """Return the split that a name means, "train", "val" or "test"; None if it is no name of a split.

    Examples:
        >>> [split_of(name) for name in ("TRAIN", "valid", "Test set", "val2017", "train_images", "trainval", "dog")]
        ['train', 'val', 'test', 'val', 'train', None, None]
    """
    word = re.sub(r"\d+$", "", plain(name))
    for ending in ("", "set", "split", "data", "crop", *_IMAGES):
        if word.endswith(ending) and (split := _SPLITS_BY_WORD.get(word.removesuffix(ending))):
            return split
    return None


def is_nothing(name: str) -> bool:
    """Tell whether a tag or folder means that none of the classes is in the image.

    Examples:
        >>> [is_nothing(name) for name in ("Other", "_background_", "no class", "N/A", " ", "other (12)", "dog")]
        [True, True, True, True, True, True, False]
    """
    word = plain(re.sub(r"\s*\(\d+\)$", "", name))  # a number of images, or of a copy
    return word in _NOTHING or word.startswith("background") or not word


def empty_tags(names: Collection[str]) -> set[str]:
    """Return the tags, or folders of images, among some that mean that there is nothing to draw.

    Those of `is_nothing`, those that mean that all is well, such as "good" and "normal", also of a thing that another
    name shares, such as "healthy leaf" next to "spotted leaf", and those that deny another one, such as "no crack".

    Examples:
        >>> sorted(empty_tags(["crack", "No_Crack", "non-dog", "no parking", "0_negative", "good"]))
        ['0_negative', 'No_Crack', 'good']
        >>> sorted(empty_tags(["glioma_tumor", "no_tumor"])), sorted(empty_tags(["yes", "no"]))
        (['no_tumor'], ['no'])
        >>> sorted(empty_tags(["with_mask", "without_mask"])), sorted(empty_tags(["ok", "not_ok"]))
        ([], ['ok'])
        >>> sorted(empty_tags(["def_front", "ok_front"])), sorted(empty_tags(["cracks", "no_crack"]))
        (['ok_front'], ['no_crack'])
    """
    words = {plain(name) for name in names}
    last = (re.split(r"[\s_\-]+", name) for name in names)  # a face "without_mask" is a class, as one "with_mask" is
    kinds = {plain(parts[-1]) for parts in last if plain(parts[0]) not in (*_DENIALS, "with")}
    denied = {form for word in words - _INTACT for form in (word, word.removesuffix("s"), f"{word}s")}
    denials = {denial + word for word in denied for denial in _DENIALS} | {f"no{kind}" for kind in kinds}
    denials |= {f"un{word.removesuffix('ed')}ed" for word in words}
    denials |= {no for yes, no in _DENIED.items() if yes in words}
    found = _intact_things(names)
    for name in names:
        word = plain(re.sub(r"^\d+[\s_\-.]+", "", name) or name)
        if is_nothing(word) or word in _INTACT or word in denials:
            found.add(name)
    return found


def _intact_things(names: Collection[str]) -> set[str]:
    """The names of a thing and a word such as "healthy", before or behind it, if another name shares the thing.

    Where one name is so, others with the word in this place are too: "Tomato healthy" next to "Tomato mould", and
    "Blueberry healthy".
    """
    split = {name: re.split(r"[\s_\-]+", re.sub(r"^\d+[\s_\-.]+", "", name)) for name in names}
    found: set[str] = set()
    for step in (1, -1):
        words = {name: [plain(part) for part in parts[::step] if plain(part)] for name, parts in split.items()}
        intact = {
            name: parts
            for name, parts in words.items()
            if len(parts) > 1 and parts[0] in _INTACT and not set(parts) & set(_DENIALS)
        }
        others = [parts for name, parts in words.items() if name not in intact]
        shared = {
            parts[0]
            for parts in intact.values()
            if any(len(other) >= len(parts) and other[1 - len(parts) :] == parts[1:] for other in others)
        }
        found |= {name for name, parts in intact.items() if parts[0] in shared}
    return found


def looks_like_group(name: str) -> bool:
    """Tell whether a folder's name numbers or dates a part of the data, such as a patient, which is no class.

    Examples:
        >>> [looks_like_group(name) for name in ("patient00012", "Scene_3", "2021-05-30", "100CANON", "0", "dog1")]
        [True, True, True, True, False, False]
    """
    grouped = re.fullmatch(rf"({_GROUPS})[\s_\-.]?\d+|(19|20)\d\d([_\-.]?\d\d){{0,2}}", name.casefold())
    return bool(grouped or _CAMERA.fullmatch(name))


def are_dated(names: Collection[str]) -> bool:
    """Tell whether each name holds a date, and they differ, as those of surveys and patients do and classes not.

    Examples:
        >>> are_dated(["field_2021-05-30", "field_2021-06-02"]), are_dated(["TCGA_CS_19960909", "TCGA_DU_20010203"])
        (True, True)
        >>> are_dated(["dog_20210530", "cat_20210530"]), are_dated(["n02099601", "n02123045"])
        (False, False)
    """
    found = [_DATE.search(name) for name in names]
    return all(found) and len({match[0] for match in found if match}) > 1


def are_numbered(names: Collection[str]) -> bool:
    """Tell whether names are one word with numbers that are padded with zeros, as counted parts have and classes not.

    Examples:
        >>> are_numbered(["kos01", "kos02", "kos03"]), are_numbered(["item1", "item2", "item3"])
        (True, False)
        >>> are_numbered(["class_01", "class_02", "class_03"]), are_numbered(["n01440764", "n02102040", "n02979186"])
        (False, False)
    """
    found = [re.fullmatch(r"([^\W\d]+)[\s_\-.]?(\d{2,})", name.casefold()) for name in names]
    if len(found) < 3 or not all(found):
        return False
    words, numbers = zip(*(match.groups() for match in found if match), strict=True)
    padded = any(number.startswith("0") for number in numbers) and len(set(map(len, numbers))) == 1
    counted = max(map(int, numbers)) <= 2 * len(numbers)
    return padded and counted and len(set(words)) == 1 and plain(words[0]) not in _KINDS


def may_hold_images(name: str) -> bool:
    """Tell whether a folder's name, next to one of masks, says that it holds their images: "input", "x", "frames"."""
    return _role(name) in _MAY_BE_IMAGES


def is_system(name: str) -> bool:
    """Tell whether a file or folder belongs to a system, an editor or a version control, not to the data.

    Examples:
        >>> [is_system(name) for name in ("__MACOSX", "._a.jpg", ".git", "Thumbs.db", "a.jpg~", "a.jpg")]
        [True, True, True, True, True, False]
    """
    return name.startswith((".", "~$")) or name.endswith("~") or name.casefold() in _SYSTEM


def in_system(path: PurePath) -> bool:
    """Tell whether a relative path leads through a file or folder of a system."""
    return any(map(is_system, path.parts))


def holds_images(name: str) -> bool:
    """Tell whether a folder's name only says that it holds images, not what they show.

    Examples:
        >>> [holds_images(name) for name in ("Images", "jpg", "images_png", "images_001", "dog_images")]
        [True, True, True, True, False]
    """
    return re.sub(r"\d+$", "", _role(name)) in _IMAGES or not _role(name)


def holds_masks(name: str) -> bool:
    """Tell whether a folder's name says that it holds masks or other annotations.

    Examples:
        >>> [holds_masks(name) for name in ("Masks", "ground_truth", "val_labels", "dog_masks", "with_mask", "dog")]
        [True, True, True, True, False, False]
        >>> [holds_masks(name) for name in ("masks_png", "trainannot", "test_lab", "Part1_GroundTruth", "lab")]
        [True, True, True, True, False]
    """
    return _role(name) in _MASKS or masks_of(name) is not None


def masks_of(name: str) -> str | None:
    """Return what the masks in a folder are of, such as "val" for ``val_masks``; None for just ``masks``.

    Examples:
        >>> masks_of("val_masks"), masks_of("ground_truth")
        ('val', None)
    """
    if _role(name) in _MASKS:
        return None
    words = re.sub(r"(?i)ground_truth", "groundtruth", re.sub(r"[\s\-.]", "_", name))
    first, _, last = words.rpartition("_")
    if first and plain(last) in _MASKS | _ABBREVIATED:
        return first if plain(last) in _PLAINLY_MASKS or split_of(first) or holds_images(first) else None
    glued = (plain(name).removesuffix(word) for word in _MASKS if plain(name).endswith(word))
    return next((split for split in glued if split_of(split)), None)


def _role(name: str) -> str:
    """A name that may say what a folder holds, without the kind of its files: "images_png"."""
    return _ENDINGS.sub("", plain(name))


def is_aside(name: str) -> bool:
    """Tell whether a folder's name says that it holds drawings or lists for people, neither images nor masks."""
    return plain(name) in _ASIDE


def has_role(name: str) -> bool:
    """Tell whether a folder's name says what kind of files it holds: it is then no class."""
    return holds_images(name) or holds_masks(name) or is_aside(name)


def may_be_class(name: str) -> bool:
    """Tell whether a name of a role is as good a name of a class, such as "mask" of faces with and without."""
    return plain(name) in _DOUBTFUL


def uploaded_name(name: str) -> str:
    """Return the name that a file had before it was uploaded to Label Studio.

    Examples:
        >>> uploaded_name("0a1b2c3d-tile_7.jpg"), uploaded_name("tile-7.jpg")
        ('tile_7.jpg', 'tile-7.jpg')
    """
    return _UPLOADED.sub("", name)


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted, without those of systems."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not is_system(child.name))


def system_files(folder: Path) -> list[Path]:
    """List the files of systems in a folder and below it, sorted.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("__MACOSX/._a.jpg", "a.jpg"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     (folder / name).touch()
        >>> [file.name for file in system_files(folder)]
        ['._a.jpg']
    """
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(file for file in files if in_system(file.relative_to(folder)))

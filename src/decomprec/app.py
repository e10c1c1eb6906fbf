"""A local web page that segments the images that one drops on it."""

from __future__ import annotations

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decomprec.data.samples import IGNORE
from decomprec.protocols import Refinement
from decomprec.refine import guided_filter, half_pamr, pamr
from decomprec.trained_model import TrainedModel
from decomprec.viz import voc_palette

if TYPE_CHECKING:
    import gradio as gr

REFINEMENTS: dict[str, Refinement | None]
REFINEMENTS = {"half-pamr": half_pamr, "pamr": pamr, "guided": guided_filter, "none": None}
"""By the names that `predict --refine` takes; the first is its default."""
_LAUNCH = {"server_name": "127.0.0.1", "share": False, "ssr_mode": False, "prevent_thread_lock": True, "quiet": True}
UNSURE = "not sure"  # pixels that are left out of the label map, as 255


def segment(
    model: TrainedModel, image: str | None, tags: list[str], refinement: str, threshold: float, folder: str
) -> tuple[tuple[Any, list[tuple[Any, str]]] | None, str | None]:
    """Segment an image file, and write its label map.

    Args:
        model: draws the masks.
        image: the file; None for none.
        tags: names of the classes in it; empty lets the classifier decide.
        refinement: one of `REFINEMENTS`.
        threshold: pixels whose most likely class has a lower probability become 255; in [0, 1].
        folder: gets a folder with the label map.

    Returns:
        The image with a mask (H, W) for each class that was found, 0 or its opacity, as `gradio.AnnotatedImage` takes
        them, and the file of the label map; None for both without an image.
    """
    if image is None:
        return None, None
    result = model(image, tags or None, refine=REFINEMENTS[refinement], ignore_below=threshold)
    file = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(image).stem}_mask.png"
    result.save(file)
    labels = result.label_map
    names = {**dict(enumerate(model.classes)), IGNORE: UNSURE}
    masks = [(0.6 * (labels == k).float().numpy(), names[k]) for k in labels.unique().tolist() if k]
    return (result.image.permute(1, 2, 0).cpu().numpy(), masks), str(file)


def build_app(model: TrainedModel) -> gr.Blocks:
    """A Gradio page on which images are dropped, and their masks seen and downloaded.

    Args:
        model: draws the masks.

    Raises:
        ValueError: if gradio is not installed.
    """
    gr = _gradio()
    results = tempfile.TemporaryDirectory(prefix="decomprec-")  # removed with the page

    def shown(image: str | None, tags: list[str], refinement: str, threshold: float) -> Any:
        try:
            drawn, file = segment(model, image, tags, refinement, threshold, results.name)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        return drawn, gr.DownloadButton(value=file, interactive=file is not None)

    with gr.Blocks(title="decomprec", analytics_enabled=False) as page:
        gr.Markdown("# Drop an image, see its masks")
        with gr.Row():
            with gr.Column():
                # As it is stored: the model reads it as `predict` does.
                image = gr.Image(type="filepath", image_mode=None, sources=["upload", "clipboard"], label="Image")
                tags = gr.CheckboxGroup(
                    list(model.class_names),
                    label="Tags",
                    info="Classes in the image. If none is set, the classifier decides.",
                )
                refinement = gr.Radio(list(REFINEMENTS), value=next(iter(REFINEMENTS)), label="Refinement")
                threshold = gr.Slider(
                    0, 1, 0, step=0.05, label="Threshold", info="Pixels of a lower probability are left open, as 255."
                )
            with gr.Column():
                drawn = gr.AnnotatedImage(label="Masks", color_map=_colours(model), buttons=["fullscreen"])
                label_map = gr.DownloadButton("Download the label map", interactive=False)
        gr.on(
            [image.change, tags.change, refinement.change, threshold.change],
            shown,
            [image, tags, refinement, threshold],
            [drawn, label_map],
            trigger_mode="always_last",  # what is changed while an image is segmented waits, the latest alone
            show_progress_on=drawn,
            api_name="segment",
        )
    return page


def serve(model: TrainedModel, *, port: int | None = None, browser: bool = True, wait: bool = True) -> str:
    """Serve the page of `build_app` to this machine alone.

    Args:
        model: draws the masks.
        port: of the page; None takes the first free one from 7860.
        browser: open the page in a browser.
        wait: until Ctrl-C; otherwise the page is served as long as the process lives.

    Returns:
        The address of the page.

    Raises:
        ValueError: if gradio is not installed.
        OSError: if the port is taken.
    """
    gr = _gradio()
    # Fonts of the reader's own machine: the page asks no third party for anything.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    page = build_app(model)
    try:
        _, address, _ = page.launch(server_port=port, inbrowser=browser, theme=theme, footer_links=[], **_LAUNCH)
    except OSError as error:
        raise OSError(f"Expected `port` to be free, but {port or 'each from 7860'} is not; choose another.") from error
    if wait:
        print(f"open {address} in a browser; stop with Ctrl-C", flush=True)
        page.block_thread()
    return str(address)


def _gradio() -> Any:
    if find_spec("gradio") is None:
        raise ValueError("Expected gradio, which the app needs; do pip install gradio.")
    return import_module("gradio")


def _colours(model: TrainedModel) -> dict[str, str]:
    """The colours of Pascal VOC by the names of the classes."""
    palette = (255 * voc_palette()).round().int().tolist()
    names = {**dict(enumerate(model.classes)), IGNORE: UNSURE}
    return {name: "#{:02x}{:02x}{:02x}".format(*palette[k]) for k, name in names.items() if k < len(palette)}

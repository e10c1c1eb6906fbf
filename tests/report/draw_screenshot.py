"""Draw docs/assets/report.png, the report of a run at the width of a desktop and of a phone; needs Chromium.

The run is that of docs/tutorials/your_folder.md:

uv run examples/tutorials/draw.py apples images
uv run decomprec train images --out runs/apples --preset examples/tutorials/tiny.yaml
uv run decomprec report runs/apples
uv run python tests/report/draw_screenshot.py runs/apples/report.html
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.browser import opened

PICTURE = Path(__file__).parents[2] / "docs" / "assets" / "report.png"
HEIGHT = 1100  # of the page that is shown, in pixels
GAP = 24


def main(page: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "profile") as browser:
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        views = []
        for width, dark in ((1200, False), (390, True)):
            browser.open(page, width, dark)
            browser.photograph(Path(folder) / "view.png")
            with Image.open(Path(folder) / "view.png") as view:
                views.append(view.convert("RGB").crop((0, 0, width, HEIGHT)))
    sheet = Image.new("RGB", (sum(view.width for view in views) + GAP, HEIGHT), "white")
    sheet.paste(views[0], (0, 0))
    sheet.paste(views[1], (views[0].width + GAP, 0))
    sheet.quantize(128, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

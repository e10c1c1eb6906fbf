"""What `import decomprec` costs."""

import subprocess
import sys

HEAVY = ["lightning", "timm", "segmentation_models_pytorch", "torchvision", "kornia", "matplotlib", "torchmetrics"]
HEAVY += ["torch._dynamo"]  # the compiler: seconds, for those who don't compile


def test_import_loads_no_heavy_library() -> None:
    # The paper's segmenter needs none of them either.
    code = (
        f"import sys, decomprec; decomprec.DecompositionSegmenter(2); print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

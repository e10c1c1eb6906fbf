"""What `import decomprec` costs, what it offers, and which way the arrows point."""

import subprocess
import sys
from pathlib import Path

import decomprec

HEAVY = ["lightning", "timm", "segmentation_models_pytorch", "torchvision", "kornia", "matplotlib", "torchmetrics"]
HEAVY += ["torch._dynamo"]  # the compiler: seconds, for those who don't compile
ROOT = Path(__file__).parents[2]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_no_heavy_library() -> None:
    # The paper's segmenter needs none of them either.
    code = (
        f"import sys, decomprec; decomprec.DecompositionSegmenter(2); print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run_python(code) == "[]"


def test_no_public_name_disappears_unnoticed() -> None:
    assert set(decomprec.__all__) >= {
        "ClsLoss",
        "Decomposition",
        "DecompositionLoss",
        "DecompositionSegmenter",
        "FilledView",
        "FrozenGuide",
        "HingeAreaLoss",
        "LossTerms",
        "MaskLoss",
        "ReconLoss",
        "component_view",
        "functional",
        "recompose",
    }
    assert all(hasattr(decomprec, name) for name in decomprec.__all__)


def test_arrows_point_one_way() -> None:
    """The layers of pyproject.toml, checked by import-linter."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""The command line: `decomprec` or `python -m decomprec`. Each command imports torch only when it runs."""

from __future__ import annotations

import typer

from decomprec.cli.app_command import app as app_command
from decomprec.cli.check import check
from decomprec.cli.common import PreparedCommand, SentenceErrors
from decomprec.cli.demo import demo
from decomprec.cli.evaluate import evaluate
from decomprec.cli.export import export
from decomprec.cli.labels import export_labels, import_labels
from decomprec.cli.predict import predict
from decomprec.cli.report import report
from decomprec.cli.train import train
from decomprec.cli.version import main

HELP = """Train a segmenter from image tags.

\b
Try it, without any data:
  decomprec demo

\b
Go from a folder of tagged images to masks, and score them:
  decomprec check images
  decomprec train images --out runs/mine
  decomprec predict runs/mine holiday/ --out drawn
  decomprec evaluate drawn/masks true_masks --json scores.json

\b
Correct masks in a labelling tool, and train on them:
  decomprec export-labels drawn --to label-studio --out tasks
  decomprec import-labels export.json --out corrected
  decomprec train images --out runs/better --start runs/mine --masks corrected

\b
A report of the run, a page to drop images on, and a model for onnxruntime:
  decomprec report runs/mine images
  decomprec app runs/mine
  decomprec export runs/mine --out mine.onnx

Exit codes: 0 done, 1 failed (one sentence on stderr says why), 2 wrong usage. `decomprec COMMAND --help` has more
examples.
"""

app = typer.Typer(
    name="decomprec",
    cls=SentenceErrors,
    help=HELP,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text, which reads the same in a log
    pretty_exceptions_enable=False,
)
app.callback()(main)
for command in (demo, check, train, predict, evaluate, report, app_command, export, export_labels, import_labels):
    app.command(cls=PreparedCommand)(command)

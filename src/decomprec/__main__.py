"""`python -m decomprec` is the command line."""

from decomprec.cli import app

app(prog_name="decomprec")

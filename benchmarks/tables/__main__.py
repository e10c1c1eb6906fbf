"""`python -m benchmarks.tables`."""

from benchmarks.tables.pages import main

main()

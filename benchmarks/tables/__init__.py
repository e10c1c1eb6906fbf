"""The tables of the documentation, made from benchmarks/results: `python -m benchmarks.tables`."""

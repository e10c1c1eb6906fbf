"""One module for each layout of tagged images that can be read."""

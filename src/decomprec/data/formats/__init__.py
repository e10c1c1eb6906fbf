"""One module per format of tagged images."""

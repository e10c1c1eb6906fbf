"""The segmenter, its encoders and decoders, and the classifiers that become guides."""

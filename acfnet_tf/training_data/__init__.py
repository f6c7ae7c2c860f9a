"""What may be done with training data beyond the paper: changed colours, rare classes, a cache of decoded samples."""

"""The page of `--mode=explore`: what networks make of an image, and of one of its pixels."""

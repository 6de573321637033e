"""Load data sets, and draw batches of images and labels as pure functions of an index."""

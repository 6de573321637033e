"""Batches of images and labels: loading data sets, and batches as pure functions of an index."""

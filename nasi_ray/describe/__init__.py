"""``nasi-ray describe``: how large the network of a cell is, and a picture of the cell."""

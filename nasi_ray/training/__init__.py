"""Training the network of a cell, and the trained model as files."""

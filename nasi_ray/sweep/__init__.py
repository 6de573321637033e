"""Sweeps: searches of many seeds and settings, their cells, and the cell they agree on."""

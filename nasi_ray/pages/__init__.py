"""Pages: run directories as one self-contained HTML file each, for people. Reads, never computes
a sample."""

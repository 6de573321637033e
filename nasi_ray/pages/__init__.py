"""Pages: what run directories hold, as one self-contained HTML file for people."""

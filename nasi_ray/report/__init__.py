"""What people see: drawings of cells, progress displays, the summary of a search."""

"""``nasi-ray replay``: the cells that other settings of the estimate select from stored records."""

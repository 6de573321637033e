"""The search job: samples at initialization -> α* and a cell."""

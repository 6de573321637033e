"""The method: trace norm, its exact gradient, the estimate of α. Pure functions."""

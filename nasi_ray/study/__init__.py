"""Analyses of a search's records against a table of accuracies: pure functions, no files, no Ray.

Every number says how it was come by: per seed, over seeds, or of the whole space.
"""

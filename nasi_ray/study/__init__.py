"""Studies of searches against a table of accuracies: one module a table or figure of the paper.

Each has its analysis (pure), its text, its figure, and ``run``. Every number says whether it is of
a seed, over seeds, or of the whole space.
"""

"""Finalists: the best cells of a search, compared by validation accuracy."""

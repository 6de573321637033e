"""Ranking architectures by training-free scores: selection, scoring and result.

Only ``scoring`` and ``job`` need torch; nothing here imports Ray.
"""

"""Ranking architectures by training-free scores: what is ranked, how it is scored, what it says.

``scoring`` alone needs torch; nothing here knows Ray.
"""

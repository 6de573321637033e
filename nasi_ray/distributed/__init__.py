"""Evaluation of samples on a Ray cluster; the only package that imports Ray.

It knows nothing of NASI: it maps indices to results. ``scheduling`` and what it is made of are
pure; ``pool`` carries the decisions out with Ray; ``connection`` connects, ``cluster`` plans.
"""

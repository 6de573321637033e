"""Evaluation of samples on a Ray cluster; the only package that imports Ray.

It knows nothing of NASI: it maps indices to results. ``scheduler`` is pure; ``ray_runner`` carries
its decisions out with Ray; ``connection`` connects, ``nodes`` plans workers.
"""

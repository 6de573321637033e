"""Evaluates samples on a Ray cluster; the only package that imports Ray.

It knows nothing of NASI: it maps indices to results. ``connection`` connects to Ray, ``nodes``
plans the workers, and ``ray_runner`` carries out with Ray what ``scheduler``, which is pure,
decides. ``cost`` and ``metering`` say what a run cost. ``train`` runs Ray Train, and ``board`` is
how its workers and the driver talk.
"""

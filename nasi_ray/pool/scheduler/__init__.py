"""The worker pool's state machine: events in, decisions out. No Ray, no clock: time is passed in.

Words used throughout: a *device* is where a worker runs, a node or a GPU of one. A *call* is one
request to a worker, with one or more samples. A *suspect* is a sample whose evaluation failed, or
that was running when its worker died. An *event number* counts what happened to calls and workers.
"""

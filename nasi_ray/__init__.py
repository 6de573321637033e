"""Neural Architecture Search at Initialization (NASI), exact, replayable and parallel on Ray."""

__version__ = "0.1.0"

"""Neural Architecture Search at Initialization (NASI), exact, replayable and parallel on Ray."""

"""The worker pool's state machine: events in, decisions out. No Ray, and time is passed in."""

"""Jobs put together: settings in, run directory out. What ``jobs/`` call and nothing else."""

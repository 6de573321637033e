"""Tools that prepare, check and use a cluster; ``cluster/README.md`` is the manual."""

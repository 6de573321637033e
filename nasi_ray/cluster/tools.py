"""``nasi-ray cluster``: the tools for cluster files and jobs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from nasi_ray.errors import UnknownNameError
from nasi_ray.run.process import EXIT_SETTINGS

CLUSTER_TOOLS = {
    "render": ("fill in the cluster file for an account", "render"),
    "validate": ("check the cluster files of this checkout", "validate"),
    "submit": ("submit a job, and follow it through lost connections", "submit"),
    "watch-spot": ("drain a node that AWS is about to take back", "spot_watcher"),
}
"""Name of a tool -> description, and the module, with ``main(argv) -> status``."""


def main(argv: Sequence[str]) -> int:
    """Run a tool."""
    tool = argv[0] if argv else ""
    if tool in ("", "-h", "--help"):
        rows = [f"  {name:<10}  {about}" for name, (about, _) in CLUSTER_TOOLS.items()]
        usage = ["usage: nasi-ray cluster TOOL [OPTION ...]", "", *rows]
        (sys.stdout if tool else sys.stderr).write("\n".join(usage) + "\n")
        sys.exit(0 if tool else EXIT_SETTINGS)  # as argparse and tyro end after help
    if tool not in CLUSTER_TOOLS:
        raise UnknownNameError("cluster tool", tool, list(CLUSTER_TOOLS))
    module = importlib.import_module(f"nasi_ray.cluster.{CLUSTER_TOOLS[tool][1]}")
    status: int = module.main(argv[1:])
    return status

"""The command line: ``nmcore inspect | compress | sweep | evaluate | bench``.

Each command reads its options, calls the library and prints; it decides nothing itself. What
costs time to import is imported inside the command that needs it.
"""

from nmcore.utils.interrupts import ending_at_once

with ending_at_once():
    from nmcore.cli.benching import bench
    from nmcore.cli.compressing import compress
    from nmcore.cli.evaluating import evaluate
    from nmcore.cli.inspecting import inspect
    from nmcore.cli.program import cli
    from nmcore.cli.sweeping import sweep

__all__ = ["cli", "main"]

for command in (inspect, compress, sweep, evaluate, bench):
    cli.add_command(command)


def main() -> None:
    """Run the command line; the installed program ``nmcore`` starts here."""
    cli(prog_name="nmcore")

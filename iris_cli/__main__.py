"""`iris`, and `python -m iris_cli`, which is also what `torchrun -m iris_cli` starts on each rank."""

import sys

from iris_cli.errors import EXIT_INTERRUPTED


def main() -> None:
    """Imports the command line and runs it. Ctrl-C during the import is reported as it is afterwards."""
    try:
        from iris_cli.app import main as run
    except KeyboardInterrupt:
        print("error: interrupted\nhint: run it again", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()

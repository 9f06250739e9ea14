"""`iris`, and `python -m iris_cli`, which is also what `torchrun -m iris_cli` starts on each rank."""

import os
import sys


def import_nothing_from_here() -> None:
    """No file of the current folder, such as a `torch.py`, is imported, here or by a process that is started from here.

    `python -m` looks there first, as do the processes of multiprocessing and torchrun; so does an empty entry or a dot
    in PYTHONPATH. A checkout from which `python -m iris_cli` runs is still imported. To import pathlib here would be
    too early.
    """
    try:
        here = os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        print("error: the current folder was removed\nhint: cd to another", file=sys.stderr)
        sys.exit(1)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    named = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", ".")]
    if package == here and here not in named:
        named.insert(0, here)
    sys.path[:] = [path for path in sys.path if path not in ("", here) or path in named]
    os.environ["PYTHONPATH"] = os.pathsep.join(named)
    os.environ["PYTHONSAFEPATH"] = "1"


def main() -> None:
    """Imports the command line and runs it. Ctrl-C during the import is reported as it is afterwards."""
    import_nothing_from_here()
    try:
        from iris_cli.app import main as run
    except KeyboardInterrupt:
        from iris_cli.errors import EXIT_INTERRUPTED

        print("error: interrupted\nhint: run it again", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (MemoryError, OSError, ImportError) as error:  # a library that does not fit into the memory
        from iris_cli.errors import of_system

        if (known := of_system(error)) is None:
            raise
        print(f"error: {known.message}\nhint: {known.hint}", file=sys.stderr)
        sys.exit(known.exit_code)
    run()


if __name__ == "__main__":
    main()

"""`python -m iris_cli`, which is also what `torchrun -m iris_cli` starts on each rank."""

from iris_cli.app import main

if __name__ == "__main__":
    main()

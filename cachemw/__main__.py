"""`python -m cachemw`."""

from cachemw.cli import main

if __name__ == "__main__":  # each worker of `serve` imports this module too
    main()

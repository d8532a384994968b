"""`python -m cli` is `repro`, from a checkout where it is not installed."""

from cli.main import main

if __name__ == "__main__":
    main()

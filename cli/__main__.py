"""`python -m cli` is `repro`: what the launcher and a sweep start."""

from cli.main import main

if __name__ == "__main__":
    main()

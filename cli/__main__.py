"""`python -m cli` is `repro`: what torchrun and the launcher start."""

from cli.main import main

if __name__ == "__main__":
    main()

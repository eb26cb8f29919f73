"""`python -m hyperderm`."""

from hyperderm.cli import main

if __name__ == "__main__":
    main()

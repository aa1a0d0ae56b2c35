"""``python -m frivkit``."""

from frivkit.cli import main

if __name__ == "__main__":
    main()

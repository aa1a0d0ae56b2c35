"""The program ``frivkit``, also as ``python -m frivkit``."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit, also if Ctrl-C comes while it is imported."""
    try:
        from frivkit.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("frivkit: interrupted\n")
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()

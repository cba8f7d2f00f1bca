"""``python -m nmcore`` is the program ``nmcore``."""

from nmcore.cli import main

if __name__ == "__main__":
    main()

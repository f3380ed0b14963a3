"""``python -m ld4mrec_cli`` is the command ``ld4mrec``."""

from ld4mrec_cli.cli.app import main

if __name__ == "__main__":
    main()

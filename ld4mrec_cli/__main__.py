"""Entry point of the command ``ld4mrec``, also as ``python -m ld4mrec_cli``.

It handles interrupts before the imports of the command line, which take a while.
"""

import sys

from ld4mrec_cli.utils import interrupts


def main() -> None:
    """Run the command line of this process and exit with its exit code."""
    try:
        interrupts.install()
        from ld4mrec_cli.cli.app import run

        # With `torchrun … -m ld4mrec_cli -- train --run X`, torchrun may pass the `--` on.
        arguments = sys.argv[1:]
        code = run(arguments[1:] if arguments[:1] == ["--"] else arguments)
    except KeyboardInterrupt:
        interrupts.exit_now()
    interrupts.exit_with(code)


if __name__ == "__main__":
    main()

"""The ``rvrt`` command and ``python -m rvrt_cli``: what must be settled before the rest of the program is imported."""

import _signal  # what the module signal is made of: it is there at once, that one imports six others first
import os

INTERRUPTED = 130
"""``ExitCode.INTERRUPTED``, which is not imported yet."""


def leave(*_: object) -> None:
    """End at once: nothing is begun yet. Not by an exception, which the import of a compiled module may turn into another."""
    try:
        os.write(2, b"rvrt: interrupted.\n")
    finally:
        os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line; Ctrl+C is answered by :func:`leave` until that can answer itself."""
    from rvrt_cli.system.standard_streams import fill_closed

    fill_closed()
    from rvrt_cli.cli.app import main as run

    try:
        if taken:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        run()
    except KeyboardInterrupt:  # between two lines that catch it themselves
        leave()


# When this module is imported, not in main: the script that calls main is read before it.
taken = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
if taken:
    _signal.signal(_signal.SIGINT, leave)

if __name__ == "__main__":
    main()

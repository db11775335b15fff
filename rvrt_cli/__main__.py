"""``python -m rvrt_cli`` is the ``rvrt`` command."""

from __future__ import annotations

from rvrt_cli.cli.app import main

if __name__ == "__main__":
    main()

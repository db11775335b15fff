"""rvrt: video super-resolution with the Recurrent Video Restoration Transformer (arXiv 2206.02146)."""

from __future__ import annotations

from rvrt_cli.package import __version__
from rvrt_cli.system.telemetry import opt_out

TYPE_CHECKING = False  # as in the module typing, which takes longer to import than the rest of this one
if TYPE_CHECKING:
    from rvrt_cli.api import light_model, load_model, upscale_frames, upscale_video

__all__ = ["__version__", "light_model", "load_model", "upscale_frames", "upscale_video"]

opt_out()

if not TYPE_CHECKING:  # which would take every name, misspelt ones too, for Any

    def __getattr__(name: str) -> object:
        """The Python interface, imported at its first use: the command line pays nothing for it."""
        if name in __all__:
            from rvrt_cli import api

            return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

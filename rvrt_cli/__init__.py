"""rvrt: video super-resolution with the Recurrent Video Restoration Transformer (arXiv 2206.02146)."""

from __future__ import annotations

__version__ = "0.1.0"

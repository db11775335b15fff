"""Turns a film into its upscaled film: shots, windows, tiles, blend, journal, pipeline. Knows a restorer, not a framework."""

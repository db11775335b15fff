"""Pictures as arrays: resizing, reading and writing, fixed point."""

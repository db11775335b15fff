"""The commands: Typer, Rich and the only error boundary."""

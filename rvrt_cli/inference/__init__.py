"""Runs a network on an engine: graphs and their cache, sessions, the restorer around them, export."""

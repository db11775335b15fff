"""What the machine gives: files, locks, memory, hardware, the user's cache folder."""

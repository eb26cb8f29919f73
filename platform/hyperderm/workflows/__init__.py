"""What a user can start, callable from Python; the command line only parses flags."""

"""Compiles a spec into the immutable plan of chords that the engine runs."""

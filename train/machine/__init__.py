"""The machine of a run: devices, ranks, networks, memory, signals, and Ray as a launcher."""

"""Where the time, the memory and the operations of a search go: durations, FLOPs, expensive operations, as text."""

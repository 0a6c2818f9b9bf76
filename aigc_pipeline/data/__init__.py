"""Tables on disk: shards of cells in Arrow IPC files, and how they are read back."""

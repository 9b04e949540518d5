"""Many sources: which file each result goes to, what is finished, and the processes that do the work."""

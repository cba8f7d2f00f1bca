"""What knows nothing of the domain: files, locks, executors, text."""

"""What writing costs, measured side by side with other ways to do it: `make bench`."""

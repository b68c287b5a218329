"""Where everything lives that must outlive a process."""

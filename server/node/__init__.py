"""Who runs what: admission, slots, takeover, drain."""

"""What can be asked, by topic. Routes know HTTP and plain values; the work is done elsewhere."""

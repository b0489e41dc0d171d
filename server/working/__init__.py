"""Who may be in flight, on which thread, encoded together with whom."""

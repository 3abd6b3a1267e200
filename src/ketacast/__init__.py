"""ketacast."""

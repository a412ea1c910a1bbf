"""What several search spaces share."""

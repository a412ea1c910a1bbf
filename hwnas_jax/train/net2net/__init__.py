"""A larger network that computes what a trained smaller one computes."""

"""Training one fixed network from scratch."""

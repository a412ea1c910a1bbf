"""Cost models: looked up, counted, learned."""

"""How architectures are proposed."""

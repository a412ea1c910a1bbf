"""Files that people keep: read with a clear word on damage, written whole or not at all."""

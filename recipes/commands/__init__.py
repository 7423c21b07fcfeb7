"""Small commands without a story of their own."""

"""What the screens know: run folders, chats, models in child processes. No textual import, no MLX."""

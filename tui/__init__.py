"""The eyes: screens that read run folders and start recipes as processes. Never imports MLX or a recipe."""

"""The nouns: device, tokenizer, chat, model, weights, data, sampling, losses, learner, runs.

`lab` knows no recipe and no screen. Modules that the TUI imports (runs, run, tokenizer, chat) never import MLX. Importing
anything of `lab` puts OpenBLAS in front of MLX's own BLAS on Linux, so import it before `mlx`.
"""

from lab import blas as blas

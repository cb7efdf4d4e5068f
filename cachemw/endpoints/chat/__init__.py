"""Chat completions: `POST …/chat/completions`."""
